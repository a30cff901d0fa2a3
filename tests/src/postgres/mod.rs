//! `PostgreSQL` for tests: a server from wherever there is one, and a fresh database for every test.
//!
//! The server is the first of: the one at `DATABASE_URL`; a container of an image that is already here; a throw-away cluster of the
//! machine's own binaries; the same after installing them, where that is possible. Which one it was is printed. There is no skipping:
//! without a server the tests fail, and say what to do.

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;

use anyhow::Context;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use tokio::sync::OnceCell;
use url::Url;

mod cluster;
mod container;
mod pooler;
mod process;

pub use cluster::Cluster;
use container::Container;
pub use pooler::Pooler;

/// An empty database of its own; dropped, as well as it can be, with this value.
#[derive(Debug)]
pub struct Database {
    server_url: Url,
    name: String,
    url: Url,
}

impl Database {
    /// Where it is, and who may enter.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The URL of this database, or its copies, at these addresses, with these parameters.
    #[must_use]
    pub fn url_at(&self, addresses: &[SocketAddr], parameters: &str) -> String {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        format!("postgres://{}@{}/{}?{parameters}", self.url.username(), addresses.join(","), self.name)
    }

    async fn create(server_url: &Url) -> anyhow::Result<Self> {
        let name = format!("sts_test_{:016x}", random());
        // The name is ours: nothing in it needs quoting.
        administer(server_url, format!("CREATE DATABASE {name} TEMPLATE template0")).await?;
        let mut url = server_url.clone();
        url.set_path(&name);
        Ok(Self { server_url: server_url.clone(), name, url })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let server_url = self.server_url.clone();
        // A runtime of its own, because a drop cannot await. A database that stays goes with its server, or wastes a little space.
        let dropper = std::thread::spawn(move || -> anyhow::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(administer(&server_url, statement))
        });
        let _ = dropper.join();
    }
}

async fn administer(server_url: &Url, statement: String) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(server_url.as_str()).await?;
    // A standby that a test has stopped must not hold this up.
    sqlx::raw_sql("SET synchronous_commit = local").execute(&mut connection).await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A fresh, empty database on the server that all tests of this process share.
///
/// # Panics
///
/// When there is no server and none can be had.
pub async fn database() -> Database {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    let server = SERVER.get_or_init(Server::find).await;
    Database::create(server.url()).await.expect("a database on the PostgreSQL server of the tests")
}

/// The server that all tests of a process share. It ends with the process.
#[derive(Debug)]
enum Server {
    Given(Url),
    Container(Container),
    Cluster(Box<Cluster>),
}

impl Server {
    fn url(&self) -> &Url {
        match self {
            Self::Given(url) => url,
            Self::Container(container) => container.url(),
            Self::Cluster(cluster) => cluster.server_url(),
        }
    }

    async fn find() -> Self {
        if let Some(url) = given_url() {
            let url = Url::parse(&url).expect("DATABASE_URL is a URL");
            eprintln!("PostgreSQL: the server of DATABASE_URL");
            return Self::Given(url);
        }
        let mut reasons = String::new();
        match Container::start().await {
            Ok(container) => {
                eprintln!("PostgreSQL: a container of {}", container::IMAGE);
                return Self::Container(container);
            }
            Err(reason) => writeln!(reasons, "- no container: {reason:#}").expect("a string takes text"),
        }
        match Cluster::launch(&std::env::temp_dir()).await {
            Ok(cluster) => {
                eprintln!("PostgreSQL: a throw-away cluster, {}", cluster.version());
                Self::Cluster(Box::new(cluster))
            }
            Err(reason) => panic!(
                "the tests need PostgreSQL 15 or later and found none:\n{reasons}- no cluster: {reason:#}\nSet DATABASE_URL to a server \
                 on which they may create databases, start Docker and pull {}, or install the package \"postgresql\".",
                container::IMAGE
            ),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "no configuration stands between a test run and its environment")]
fn given_url() -> Option<String> {
    std::env::var("DATABASE_URL").ok().filter(|url| url.starts_with("postgres"))
}

/// Waits until a server lets one in.
async fn ready(server_url: &Url) -> anyhow::Result<()> {
    let attempts = 300;
    for _ in 0..attempts {
        if let Ok(connection) = PgConnection::connect(server_url.as_str()).await {
            connection.close().await?;
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let connection = PgConnection::connect(server_url.as_str()).await.context("the server does not let one in")?;
    Ok(connection.close().await?)
}
