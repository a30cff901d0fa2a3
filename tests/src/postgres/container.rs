//! A server in a container.

use std::process::Command;

use anyhow::Context;
use url::Url;

use super::process::{Afterwards, run};
use super::ready;

/// The image. It must be here already: a test run pulls nothing.
pub(super) const IMAGE: &str = "postgres:15";

/// A server in a container of its own; removed with this value, or when the process ends.
#[derive(Debug)]
pub(super) struct Container {
    url: Url,
    _removal: Afterwards,
}

impl Container {
    pub(super) async fn start() -> anyhow::Result<Self> {
        run(docker(&["info", "--format", "{{.ServerVersion}}"])).await?;
        run(docker(&["image", "inspect", "--format", "{{.Id}}", IMAGE])).await?;
        let id = run(docker(&[
            "run",
            "--detach",
            "--rm",
            "--env=POSTGRES_HOST_AUTH_METHOD=trust",
            "--publish=127.0.0.1::5432",
            IMAGE,
            "-c",
            "max_connections=200",
        ]))
        .await?;
        let removal = Afterwards::run(Command::new("env"), "docker rm --force --volumes \"$1\"", &[&id])?;
        let address = run(docker(&["port", &id, "5432/tcp"])).await?;
        let address = address.lines().next().context("the container publishes no port")?;
        let url = Url::parse(&format!("postgres://postgres@{address}/postgres"))?;
        ready(&url).await?;
        Ok(Self { url, _removal: removal })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }
}

fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments);
    command
}
