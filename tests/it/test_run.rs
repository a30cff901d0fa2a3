//! The command for all tests names the checks that this machine could not make.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

#[test]
fn the_last_line_of_a_test_run_names_each_check_that_was_not_made() {
    let rows = [
        ("exit 0", 0, "no check was left out"),
        ("echo 'a (no b)' >> $STS_TESTS_NOT_CHECKED", 0, "1 not checked here: a (no b)"),
        ("printf 'c\\na\\na\\n' >> $STS_TESTS_NOT_CHECKED; exit 101", 101, "2 not checked here: a; c"),
    ];
    for (tests, code, last) in rows {
        let folder = tempfile::tempdir().expect("a folder");
        let cargo = folder.path().join("cargo");
        std::fs::write(&cargo, format!("#!/bin/sh\n{tests}\n")).expect("the folder is ours");
        std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).expect("the file is ours");
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(folder.path().to_owned()).chain(std::env::split_paths(&paths));
        let run = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("run"))
            .env("PATH", std::env::join_paths(paths).expect("a path"))
            .env("STS_TESTS_INSTALL", "0")
            .output()
            .expect("bash");
        let printed = String::from_utf8_lossy(&run.stdout);
        assert_eq!((run.status.code(), printed.lines().last()), (Some(code), Some(last)), "{printed}");
    }
}
