//! The images, and the compose file that runs three servers on one database.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use serde_json::Value;
use sts_server::cli::Cli;
use sts_server::config::OPTIONS;
use sts_server::registry::{self, RegistryFile};
use url::Url;

use super::{configuration, drain, file, read, strings, yaml};

const COMPOSE: &str = "deploy/compose.yaml";
const CONFIGURATION: &str = "deploy/compose/sts.toml";
const SERVERS: [&str; 3] = ["sts-1", "sts-2", "sts-3"];

fn compose() -> Value {
    yaml(COMPOSE).remove(0)
}

#[test]
fn the_image_runs_commands_that_there_are_and_not_as_root() {
    let dockerfile = read("deploy/Dockerfile");
    let line = |head: &str| {
        let mut lines = dockerfile.lines().filter_map(|line| line.split_once(head).map(|(_, rest)| rest));
        let line = lines.next().unwrap_or_else(|| panic!("no {head}"));
        serde_json::from_str::<Vec<String>>(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    };
    let command =
        [line("ENTRYPOINT "), dockerfile.split("\nCMD ").nth(1).map(|rest| vec![rest.to_owned()]).expect("a command")];
    let health = line(" CMD ");
    assert_eq!(command[0], [health[0].as_str()]);
    assert!(command[1][0].starts_with("[\"serve\"]"), "{command:?}");
    assert!(Cli::try_parse_from(health).is_ok_and(|cli| matches!(cli.command, sts_server::cli::Command::Health)));
    let user = dockerfile.lines().find_map(|line| line.strip_prefix("USER ")).expect("a user");
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}");
    let exposed = dockerfile.lines().find_map(|line| line.strip_prefix("EXPOSE ")).expect("ports");
    for (port, option) in exposed.split(' ').zip(["listen.public", "listen.admin"]) {
        let option = OPTIONS.iter().find(|known| known.path() == option).expect("an option");
        assert!(option.default.is_some_and(|address| address.ends_with(&format!(":{port}"))), "{port}");
    }
}

#[test]
fn the_build_of_the_images_sees_every_member_of_the_workspace() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let members = manifest["workspace"]["members"].as_array().expect("members");
    let folders = members.iter().map(|member| member.as_str().and_then(|path| path.split('/').next()).expect("a path"));
    let folders: BTreeSet<&str> = folders.collect();
    let ignored = read(".dockerignore");
    let seen: BTreeSet<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert_eq!(folders.difference(&seen).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn every_image_is_built_by_the_test_of_the_containers() {
    let (dockerfile, test) = (read("deploy/Dockerfile"), read("deploy/test"));
    let target = |line: &str| Some(line.split_once("--target ")?.1.split(' ').next()?.to_owned());
    let targets: Vec<String> = dockerfile.lines().filter_map(target).collect();
    assert_eq!(targets, test.lines().filter_map(target).collect::<Vec<_>>());
    assert!(targets.iter().all(|target| dockerfile.contains(&format!("FROM runtime AS {target}\n"))), "{targets:?}");
}

#[test]
fn the_image_of_the_local_process_has_the_folder_of_its_socket_which_no_other_user_may_enter() {
    let mut command = sts_agent::command::Command::command();
    let serve = command.find_subcommand_mut("serve").expect("it serves");
    let listen = serve.get_arguments().find(|argument| argument.get_id() == "listen").expect("a place");
    let socket = Path::new(listen.get_default_values().first().expect("a default"));
    let folder = socket.parent().and_then(Path::to_str).expect("a folder");
    let dockerfile = read("deploy/Dockerfile");
    let made = dockerfile.lines().find_map(|line| line.split_once("install -d -o 65532 -g 65532 -m 0700 "));
    let (_, made) = made.expect("folders of the user");
    assert!(made.split(' ').any(|path| path == folder), "{made} lacks {folder}");
}

#[test]
fn an_agent_shares_the_socket_with_its_process_and_not_the_secret() {
    let compose = yaml("deploy/agent.yaml").remove(0);
    let [agent, process] = ["coordinator", "coordinator-sts-agent"].map(|name| &compose["services"][name]);
    let volumes =
        |service: &Value| -> Vec<String> { strings(&service["volumes"]).into_iter().map(str::to_owned).collect() };
    assert_eq!(volumes(agent), ["agent-socket:/run/agent-sts"]);
    assert!(volumes(process).contains(&volumes(agent)[0]));
    assert!(agent.get("secrets").is_none());
    let user = agent["user"].as_str().expect("a user");
    assert!(read("deploy/Dockerfile").contains(&format!("\nUSER {user}\n")));
    let [uid, gid] = user.split(':').collect::<Vec<_>>()[..] else { panic!("{user}") };
    let options = compose["volumes"]["agent-socket"]["driver_opts"]["o"].as_str().expect("options");
    assert_eq!(options, format!("uid={uid},gid={gid},mode=0700"));

    let text = read("deploy/compose/agent.toml");
    // The secret stands elsewhere here, and there is no authority.
    let secrets = tempfile::tempdir().expect("a folder");
    std::fs::write(secrets.path().join("coordinator_secret"), "secret").expect("the folder is ours");
    let here = text.replace("/run/secrets", secrets.path().to_str().expect("UTF-8")).replace("ca_file", "# ca_file");
    assert!(sts_client::Verifier::from_toml(&text).is_ok());
    assert!(sts_client::Propagator::from_toml(&here).is_ok());
    let file: toml::Table = text.parse().expect("TOML");
    assert_eq!(file["sts"]["issuer"].as_str(), Some(configuration(CONFIGURATION).issuer.as_str()));
    let secrets = strings(&process["secrets"]);
    for key in ["ca_file", "client_secret_file"] {
        let path = file["sts"][key].as_str().and_then(|path| path.strip_prefix("/run/secrets/")).expect(key);
        assert!(secrets.contains(&path) && compose["secrets"].get(path).is_some(), "{path}");
    }
}

#[test]
fn the_configuration_of_the_containers_has_no_fault() {
    let config = configuration(CONFIGURATION);
    let path = config.registry.clone().expect("a registry");
    assert_eq!(registry::check(&RegistryFile::read(&path), Some(&config)), []);
    let mounts: Vec<String> = SERVERS
        .iter()
        .flat_map(|server| {
            strings(&compose()["services"][server]["volumes"]).into_iter().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert!(mounts.iter().all(|mount| mount.ends_with(":/etc/agent-sts:ro")), "{mounts:?}");
    assert!(read("deploy/Dockerfile").contains("STS_CONFIG=/etc/agent-sts/sts.toml"));
    assert!(file("deploy/compose/sts.toml").exists());
}

#[test]
fn every_server_is_confined_reachable_and_given_time_to_drain() {
    let config = configuration(CONFIGURATION);
    let compose = compose();
    let issuer = Url::parse(&config.issuer).expect("a URL");
    for server in SERVERS {
        let service = &compose["services"][server];
        assert_eq!(service["read_only"], true, "{server}");
        assert_eq!(strings(&service["cap_drop"]), ["ALL"], "{server}");
        assert_eq!(strings(&service["security_opt"]), ["no-new-privileges:true"], "{server}");
        assert_eq!(service["depends_on"]["postgres"]["condition"], "service_healthy", "{server}");
        assert_eq!(
            strings(&service["networks"]["agents"]["aliases"]),
            [issuer.host_str().expect("a host")],
            "{server}"
        );
        let [port] = strings(&service["ports"])[..] else { panic!("{server}: one port") };
        let inside = format!(":{}", config.listen.public.port());
        assert!(port.starts_with("127.0.0.1:") && port.ends_with(&inside), "{server}: {port}");
        assert_eq!(issuer.port_or_known_default(), Some(config.listen.public.port()));
        let grace = service["stop_grace_period"].as_str().and_then(|text| text.strip_suffix('s')).expect("seconds");
        assert!(Duration::from_secs(grace.parse().expect("seconds")) > drain(&config), "{server}");
    }
    assert!(config.listen.admin.ip().is_loopback(), "agents share a network with the servers");
}

#[test]
fn what_the_configuration_reads_is_what_compose_mounts() {
    let config = configuration(CONFIGURATION);
    let compose = compose();
    let [certificate, key] = config.tls.files().expect("TLS");
    let password = config.database.password_file.as_deref().expect("a password");
    let mut read: Vec<&str> = [certificate, key, password, &config.keys.master_key_file].map(secret).into();
    read.sort_unstable();
    for server in SERVERS {
        let mut given = strings(&compose["services"][server]["secrets"]);
        given.sort_unstable();
        assert_eq!(given, read, "{server}");
    }
    let defined: Vec<&String> = compose["secrets"].as_object().expect("secrets").keys().collect();
    assert!(read.iter().all(|name| defined.iter().any(|defined| defined == name)), "{defined:?}");
    let postgres = &compose["services"]["postgres"];
    let url = Url::parse(&config.database.url).expect("a URL");
    assert_eq!(url.host_str(), Some("postgres"));
    assert_eq!(postgres["environment"]["POSTGRES_USER"], url.username());
    assert_eq!(url.path(), format!("/{}", postgres["environment"]["POSTGRES_DB"].as_str().expect("a name")));
    assert_eq!(strings(&postgres["secrets"]), [secret(password)]);
    assert_eq!(strings(&postgres["networks"]), ["data"]);
    assert_eq!(compose["networks"]["data"]["internal"], true);
    assert_eq!(postgres["image"], "postgres:${POSTGRES_VERSION:-15}");
}

/// The name of a secret that compose mounts there.
fn secret(path: &Path) -> &str {
    assert_eq!(path.parent(), Some(Path::new("/run/secrets")), "{}", path.display());
    path.file_name().and_then(|name| name.to_str()).expect("a name")
}
