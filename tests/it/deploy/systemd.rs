//! The systemd unit.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use clap::Parser as _;
use sts_server::cli::Cli;
use tempfile::TempDir;

use super::{configuration, drain, read};

const UNIT: &str = "deploy/systemd/agent-sts.service";
const LOCAL_UNIT: &str = "deploy/systemd/sts-agent.service";
const PROGRAM: &str = "/usr/local/bin/sts-server";

/// How exposed `systemd-analyze security` may find the unit, in tenths of its points: 0 is best, 100 worst, and what it does not
/// restrict at all has 96.
const MOST_EXPOSED: &str = "20";

fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn the_unit_runs_commands_that_there_are_and_lets_a_server_drain() {
    let unit = read(UNIT);
    for key in ["ExecStartPre", "ExecStart"] {
        let [command] = values(&unit, key)[..] else { panic!("one {key}") };
        assert!(command.starts_with(PROGRAM), "{command}");
        assert!(Cli::try_parse_from(command.split(' ')).is_ok(), "{command}");
    }
    assert_eq!(values(&unit, "ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    assert_eq!(values(&unit, "StartLimitIntervalSec"), ["0"], "systemd gives up after five starts otherwise");
    assert_eq!(values(&unit, "LimitCORE"), ["0"]);
    assert_eq!(values(&unit, "MemoryMax"), ["512M"]);
    let [stop] = values(&unit, "TimeoutStopSec")[..] else { panic!("one TimeoutStopSec") };
    let stop = Duration::from_secs(stop.parse().expect("seconds"));
    assert!(stop > drain(&configuration("deploy/sts.toml")), "{stop:?}");
    let key = values(&unit, "LoadCredential")[0].split(':').next().expect("the name of the credential");
    assert!(values(&unit, "Environment").contains(&format!("STS__KEYS__MASTER_KEY_FILE=%d/{key}").as_str()));
}

#[test]
fn the_unit_of_the_local_process_runs_commands_that_there_are() {
    let unit = read(LOCAL_UNIT);
    for key in ["ExecStartPre", "ExecStart"] {
        let [command] = values(&unit, key)[..] else { panic!("one {key}") };
        assert!(command.starts_with("/usr/local/bin/sts-agent "), "{command}");
        assert!(sts_agent::command::Command::try_parse_from(command.split(' ')).is_ok(), "{command}");
    }
    // The user's own folder for the socket, at its default place.
    assert_eq!([values(&unit, "RuntimeDirectory")[0], values(&unit, "RuntimeDirectoryMode")[0]], ["agent-sts", "0700"]);
    assert!(!values(&unit, "User")[0].is_empty());
}

#[test]
fn systemd_finds_no_fault_in_the_unit() {
    let directory = TempDir::new().expect("a folder");
    let program = directory.path().join("sts-server");
    std::fs::write(&program, "").expect("the folder is ours");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let unit = directory.path().join("agent-sts.service");
    let text = read(UNIT).replace(PROGRAM, program.to_str().expect("a path in UTF-8"));
    std::fs::write(&unit, text).expect("the folder is ours");
    let analyze = |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).arg(&unit).output();
    let Ok(verified) = analyze(&["verify", "--man=no"]) else {
        sts_tests::not_checked(&format!("{UNIT} (systemd-analyze is not installed)"));
        return;
    };
    let told = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<&str> = told.lines().filter(|line| line.contains("agent-sts")).collect();
    assert!(verified.status.success() && ours.is_empty(), "{told}");
    let exposure =
        analyze(&["security", "--offline=yes", "--no-pager", "--threshold", MOST_EXPOSED]).expect("it is there");
    assert!(exposure.status.success(), "{}", String::from_utf8_lossy(&exposure.stdout));
}
