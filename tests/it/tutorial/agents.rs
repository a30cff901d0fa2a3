//! The agents of the examples, at the addresses of a test.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use sts_tests::process::build;
use tempfile::TempDir;

use super::terminal::Reader;
use super::{Addresses, COORDINATOR, INVENTORY, SERVICE};
use crate::local_agent::compiled_typescript;

/// Folders of an example that a build or a run makes.
const MADE: [&str; 5] = [".venv", "dist", "node_modules", "sts-dev", "__pycache__"];

/// Copies the files of an example into the reader's folder, with the addresses of the test.
pub(super) fn copy(reader: &Reader, example: &str, addresses: &Addresses, service: &str) {
    let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
    let change = |text: &str| {
        text.replace(SERVICE, service)
            .replace(&port(COORDINATOR), &port(&addresses.coordinator))
            .replace(&port(INVENTORY), &port(&addresses.inventory))
    };
    copy_folder(&source(example), reader.folder(), &change);
}

fn copy_folder(from: &Path, to: &Path, change: &impl Fn(&str) -> String) {
    fs::create_dir_all(to).expect("the folder is ours");
    for entry in fs::read_dir(from).expect("an example").map(|entry| entry.expect("an entry")) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && !MADE.iter().any(|made| name == *made) {
            copy_folder(&path, &to.join(name), change);
        } else if path.is_file() {
            let text = fs::read_to_string(&path).expect("a text");
            // The checksums of a lock file are not addresses.
            let is_lock = name == "package-lock.json";
            fs::write(to.join(name), if is_lock { text } else { change(&text) }).expect("the folder is ours");
        }
    }
}

/// Puts a `cargo` on the path that runs the agents, which are built as the test is.
pub(super) async fn install_rust(reader: &Reader, addresses: &Addresses) {
    let (inventory, agent) = (build("inventory").await, build("first-agent").await);
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n\
         'run --release -p sts-server -- dev') exec sts-server dev ;;\n\
         'run --bin inventory') exec {} {inventory_address} ;;\n\
         'run --bin first-agent') exec {} {} http://{inventory_address}/stock ;;\n\
         esac\necho \"not a command of the tutorial: cargo $*\"\nexit 1\n",
        inventory.display(),
        agent.display(),
        addresses.coordinator,
        inventory_address = addresses.inventory,
    );
    reader.install("cargo", &script);
}

/// Puts `sts-agent` on the path.
pub(super) async fn install_local_process(reader: &Reader) {
    let program = build("sts-agent").await;
    reader.install("sts-agent", &format!("#!/bin/sh\nexec {} \"$@\"\n", program.display()));
}

/// Gives the reader's folder a virtual environment with the pinned packages.
pub(super) async fn install_python(reader: &Reader) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tutorial-python");
    let requirements = source("examples/python/requirements.txt");
    let python = sts_tests::python(&directory, &requirements, "httpx, starlette, uvicorn").await;
    let environment = python.parent().and_then(Path::parent).expect("bin/python of an environment");
    let libraries = fs::read_dir(environment.join("lib")).expect("the libraries").next().expect("those of one version");
    let package = source("python/src").canonicalize().expect("the package");
    let installed = libraries.expect("a folder").path().join("site-packages/agent_sts.pth");
    fs::write(installed, format!("{}\n", package.display())).expect("the target folder is ours");
    install_local_process(reader).await;
    symlink(environment, reader.folder().join(".venv")).expect("the folder is ours");
}

/// Gives the reader's folder the pinned packages, with the one of this repository, which lives as long as what is returned. `None` where the
/// machine has no npm, which CI always has.
pub(super) async fn install_typescript(reader: &Reader) -> Option<TempDir> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tutorial-node");
    let files = ["package.json", "package-lock.json"];
    if !sts_tests::node_packages(&directory, &source("examples/typescript"), &files, "the tutorial in TypeScript").await
    {
        return None;
    }
    let ours = compiled_typescript().await?;
    let packages = reader.folder().join("node_modules");
    fs::create_dir(&packages).expect("the folder is ours");
    for package in
        fs::read_dir(directory.join("node_modules")).expect("the packages").map(|entry| entry.expect("an entry"))
    {
        // This one leads to the repository, where it is not compiled.
        if package.file_name() != "agent-sts" {
            symlink(package.path(), packages.join(package.file_name())).expect("the folder is ours");
        }
    }
    symlink(ours.path(), packages.join("agent-sts")).expect("the folder is ours");
    install_local_process(reader).await;
    Some(ours)
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
