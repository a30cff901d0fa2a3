//! The Kubernetes manifests agree with each other and with the code. (Whether they are manifests at all, the cluster says.)

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sts_server::cli::Cli;
use sts_server::config::Config;
use sts_server::registry::{self, RegistryFile};

use clap::Parser as _;

use super::{configuration, drain, file, read, strings, yaml};

const FOLDER: &str = "deploy/kubernetes";

fn config() -> Config {
    configuration("deploy/kubernetes/sts.toml")
}

/// The object of this kind and name.
fn object(file: &str, kind: &str, name: &str) -> Value {
    let objects = yaml(&format!("{FOLDER}/{file}"));
    let found = objects.into_iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("{file} has no {kind} {name}"))
}

fn deployment() -> Value {
    object("deployment.yaml", "Deployment", "agent-sts")
}

fn pod() -> Value {
    deployment()["spec"]["template"]["spec"].take()
}

#[test]
fn every_manifest_is_in_the_kustomization() {
    let kustomization = yaml(&format!("{FOLDER}/kustomization.yaml")).remove(0);
    let listed: BTreeSet<&str> = strings(&kustomization["resources"]).into_iter().collect();
    let names = fs::read_dir(file(FOLDER)).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let names: Vec<String> = names.map(|name| name.into_string().expect("a name in UTF-8")).collect();
    let manifests = names.iter().map(String::as_str).filter(|name| name.ends_with(".yaml"));
    let manifests: BTreeSet<&str> =
        manifests.filter(|name| !["kustomization.yaml", "secret.example.yaml"].contains(name)).collect();
    assert_eq!(listed, manifests);
    let generated = &kustomization["configMapGenerator"][0];
    assert_eq!(generated["name"], "agent-sts");
    assert_eq!(strings(&generated["files"]), ["sts.toml", "registry.toml"]);
    assert_eq!(kustomization["namespace"], object("namespace.yaml", "Namespace", "agent-sts")["metadata"]["name"]);
    assert_eq!(kustomization["images"][0]["name"], pod()["containers"][0]["image"]);
}

#[test]
fn the_configuration_of_the_pods_has_no_fault_but_files_that_only_a_pod_has() {
    let config = config();
    let path = config.registry.clone().expect("a registry");
    let faults = registry::check(&RegistryFile::read(&path), Some(&config));
    let only_there = |fault: &String| fault.contains("cannot be read here") && fault.contains("kubernetes.default");
    let others: Vec<String> = faults.iter().map(ToString::to_string).filter(|fault| !only_there(fault)).collect();
    assert_eq!(others, Vec::<String>::new());
}

#[test]
fn probes_ports_and_services_lead_to_the_listeners() {
    let config = config();
    let pod = pod();
    let container = &pod["containers"][0];
    let port = |name: &str| {
        let ports = container["ports"].as_array().expect("ports");
        let found = ports.iter().find(|port| port["name"] == name).unwrap_or_else(|| panic!("no port {name}"));
        found["containerPort"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port")
    };
    assert_eq!([port("https"), port("admin")], [config.listen.public.port(), config.listen.admin.port()]);
    assert!(!config.tls.admin, "probes ask over plain HTTP");
    for (probe, path) in [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        let ask = &container[probe]["httpGet"];
        assert_eq!((ask["path"].as_str(), ask["port"].as_str()), (Some(path), Some("admin")), "{probe}");
    }
    let mut command = vec!["sts-server"];
    command.extend(strings(&container["args"]));
    assert!(Cli::try_parse_from(command).is_ok_and(|cli| matches!(cli.command, sts_server::cli::Command::Serve(_))));
    let service = object("service.yaml", "Service", "agent-sts");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], "https");
    assert_eq!(service["spec"]["ports"][0]["port"], 443);
    assert_eq!(config.issuer, "https://agent-sts.agent-sts.svc.cluster.local");
    let admin = object("service.yaml", "Service", "agent-sts-admin");
    assert_eq!(admin["spec"]["ports"][0]["targetPort"], "admin");
    let labels = &deployment()["spec"]["template"]["metadata"]["labels"];
    for selector in [
        &service["spec"]["selector"],
        &admin["spec"]["selector"],
        &deployment()["spec"]["selector"]["matchLabels"],
        &object("poddisruptionbudget.yaml", "PodDisruptionBudget", "agent-sts")["spec"]["selector"]["matchLabels"],
        &object("networkpolicy.yaml", "NetworkPolicy", "agent-sts")["spec"]["podSelector"]["matchLabels"],
    ] {
        assert_eq!(selector, labels);
    }
}

#[test]
fn a_pod_is_confined_spread_and_given_time_to_drain() {
    let pod = pod();
    let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("seconds");
    assert!(Duration::from_secs(grace) > drain(&config()));
    assert_eq!(deployment()["spec"]["replicas"], 3);
    assert_eq!(deployment()["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    let spread = pod["topologySpreadConstraints"].as_array().expect("constraints");
    assert!(spread.iter().any(|constraint| constraint["topologyKey"] == "kubernetes.io/hostname"));
    let agent = object("examples/agent.yaml", "Deployment", "coordinator")["spec"]["template"]["spec"].take();
    for pod in [pod, agent] {
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for container in pod["containers"].as_array().expect("containers") {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(strings(&context["capabilities"]["drop"]), ["ALL"]);
        }
    }
    let user = read("deploy/Dockerfile");
    let user = user.lines().find_map(|line| line.strip_prefix("USER ")).expect("a user").to_owned();
    let context = &self::pod()["securityContext"];
    assert_eq!(user, format!("{}:{}", context["runAsUser"], context["runAsGroup"]));
}

#[test]
fn what_the_configuration_reads_is_mounted() {
    let config = config();
    let pod = pod();
    let mounts = pod["containers"][0]["volumeMounts"].as_array().expect("mounts");
    let volume = |path: &Path| {
        let mount = mounts.iter().find(|mount| path.parent() == mount["mountPath"].as_str().map(Path::new));
        let name = &mount.unwrap_or_else(|| panic!("{} is on no mount", path.display()))["name"];
        let volumes = pod["volumes"].as_array().expect("volumes");
        volumes.iter().find(|volume| volume["name"] == *name).expect("every mount has a volume")
    };
    let secret = object("secret.example.yaml", "Secret", "agent-sts");
    for path in [Some(&config.keys.master_key_file), config.database.password_file.as_ref()] {
        let path = path.expect("both are files");
        assert_eq!(volume(path)["secret"]["secretName"], secret["metadata"]["name"]);
        let key = path.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(secret["stringData"][key].is_string(), "the Secret has no {key}");
    }
    for path in config.tls.files().expect("TLS") {
        assert_eq!(volume(path)["secret"]["secretName"], "agent-sts-tls");
    }
    assert_eq!(volume(Path::new("/etc/agent-sts/sts.toml"))["configMap"]["name"], "agent-sts");
    let registry = read("deploy/kubernetes/registry.toml");
    let cluster = &volume(Path::new("/var/run/secrets/cluster/token"))["projected"]["sources"];
    for name in [&cluster[0]["serviceAccountToken"]["path"], &cluster[1]["configMap"]["items"][0]["path"]] {
        let path = format!("\"/var/run/secrets/cluster/{}\"", name.as_str().expect("a name"));
        assert!(registry.contains(&path), "the registry does not use {path}");
    }
}

#[test]
fn the_example_agent_is_who_the_registry_says_and_its_token_is_for_this_service() {
    let namespace = object("examples/agent.yaml", "Namespace", "shop");
    let account = object("examples/agent.yaml", "ServiceAccount", "coordinator");
    let agent = object("examples/agent.yaml", "Deployment", "coordinator");
    let pod = &agent["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], account["metadata"]["name"]);
    assert_eq!(pod["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["audience"], config().issuer);
    let registry: toml::Table = read("deploy/kubernetes/registry.toml").parse().expect("TOML");
    let registry = serde_json::to_value(registry).expect("JSON");
    let workload = &registry["agents"][0]["auth"]["workload"][0];
    let subject =
        format!("system:serviceaccount:{}:coordinator", namespace["metadata"]["name"].as_str().expect("a name"));
    assert_eq!(workload["subject"], subject);
    let issuers = registry["issuers"].as_array().expect("issuers");
    assert!(issuers.iter().any(|issuer| issuer["issuer"] == workload["issuer"]));
    let policy = object("networkpolicy.yaml", "NetworkPolicy", "agent-sts");
    let let_in = &policy["spec"]["ingress"][0]["from"][0]["namespaceSelector"]["matchLabels"];
    for (label, value) in let_in.as_object().expect("labels") {
        assert_eq!(&namespace["metadata"]["labels"][label], value, "{label}");
    }
}

#[test]
fn the_example_agent_asks_a_local_process_that_alone_has_the_token() {
    let pod = object("examples/agent.yaml", "Deployment", "coordinator")["spec"]["template"]["spec"].take();
    let [agent, local] = pod["containers"].as_array().expect("containers").as_slice() else { panic!("two containers") };
    let mounts = |container: &Value| -> Vec<(String, String)> {
        let mounts = container["volumeMounts"].as_array().expect("mounts").iter();
        mounts
            .map(|mount| (mount["name"].to_string(), mount["mountPath"].as_str().expect("a path").to_owned()))
            .collect()
    };
    let socket = ("\"socket\"".to_owned(), "/run/agent-sts".to_owned());
    assert_eq!(mounts(agent), std::slice::from_ref(&socket));
    assert!(mounts(local).contains(&socket));
    let mut command = vec!["sts-agent"];
    command.extend(strings(&local["args"]));
    for command in [command, strings(&local["readinessProbe"]["exec"]["command"])] {
        assert!(sts_agent::command::Command::try_parse_from(&command).is_ok(), "{command:?}");
    }
    let file = object("examples/agent.yaml", "ConfigMap", "coordinator");
    let file = file["data"]["agent.toml"].as_str().expect("a file");
    assert!(sts_client::Verifier::from_toml(file).is_ok_and(|verifier| verifier.build().is_ok()));
    assert!(sts_client::Propagator::from_toml(file).is_ok());
    let file: toml::Table = file.parse().expect("TOML");
    assert_eq!(file["sts"]["issuer"].as_str(), Some(config().issuer.as_str()));
    let token = Path::new(file["sts"]["token_file"].as_str().expect("a path")).parent().and_then(Path::to_str);
    assert!(mounts(local).iter().any(|(_, path)| Some(path.as_str()) == token));
}
