//! The hosts of the database, and the way to the one that takes writes.
//!
//! Every connection of a server begins in [`Hosts::connect`]: those of the pools, of the writer, of
//! the migrations and of the listener. A promoted standby and a changed password are therefore
//! found by the next connect.

use std::fmt::{self, Debug, Formatter};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sts_jose::{BoundedFile, FileContent, MAX_FILE_BYTES};
use tokio::sync::Semaphore;
use url::Url;

use super::ACQUIRE_TIMEOUT;
use super::error::{ConnectError, HostFailure, PostgresError, is_rejected};
use super::session::{self, Purpose};
use crate::postgres_url::{PostgresUrl, secret_line};
use crate::storage::Location;

/// The time after which the other hosts are tried beside the host of the last connection.
const PREFERRED_TIMEOUT: Duration = Duration::from_secs(1);

/// The hosts of a database.
pub(super) struct Hosts {
    hosts: Vec<Host>,
    wants_writes: bool,
    password: Option<BoundedFile>,
    /// False if a pooler lends connections for single transactions. They keep no settings then.
    pub(super) listens: bool,
    pub(super) requires_synchronous: bool,
    /// Allows one call at a time that ends waiting commits.
    pub(super) ending: Semaphore,
    /// The index of the host of the last connection.
    current: AtomicUsize,
}

struct Host {
    /// The host and the port, for messages.
    place: String,
    options: PgConnectOptions,
}

/// A connection, and the index of its host.
pub(super) struct Reached {
    pub(super) connection: PgConnection,
    pub(super) host: usize,
    /// The options that led to it, with the password.
    options: PgConnectOptions,
}

impl Hosts {
    /// Returns the hosts of a location. Connects to none yet.
    pub(super) fn of(location: &Location) -> Result<Self, PostgresError> {
        let url = PostgresUrl::parse(&location.url).map_err(|reason| sqlx::Error::Configuration(reason.into()))?;
        Ok(Self {
            hosts: url.hosts.iter().map(Host::of).collect::<Result<_, _>>()?,
            wants_writes: url.wants_writes,
            password: location.password_file.as_ref().map(|path| BoundedFile::new(path, MAX_FILE_BYTES)),
            listens: location.listens,
            requires_synchronous: location.requires_synchronous,
            ending: Semaphore::new(1),
            current: AtomicUsize::new(0),
        })
    }

    /// Returns true if a later connection was made to another host.
    pub(super) fn has_left(&self, host: usize) -> bool {
        self.current.load(Ordering::Relaxed) != host
    }

    /// Connects to the host of the last connection, or else to the first other host that takes
    /// writes. Reads the password file.
    pub(super) async fn connect(&self, purpose: Purpose) -> Result<Reached, PostgresError> {
        let password = self.password().await?;
        let preferred = self.current.load(Ordering::Relaxed);
        let (first, others): (Vec<_>, Vec<_>) =
            self.hosts.iter().enumerate().partition(|(index, _)| *index == preferred);
        let password = password.as_deref();
        let reach = |limit| move |host| self.reach(host, purpose, password, limit);
        let mut attempts: FuturesUnordered<_> = first.into_iter().map(reach(ACQUIRE_TIMEOUT)).collect();
        let mut failures = Vec::new();
        match tokio::time::timeout(PREFERRED_TIMEOUT, attempts.next()).await {
            Ok(Some(Ok(reached))) => return Ok(reached),
            Ok(Some(Err(failure))) => failures.push(failure),
            // A slow host may still be the first to answer.
            Ok(None) | Err(_) => {}
        }
        attempts.extend(others.into_iter().map(reach(ACQUIRE_TIMEOUT.saturating_sub(PREFERRED_TIMEOUT))));
        while let Some(outcome) = attempts.next().await {
            match outcome {
                Ok(reached) => {
                    if self.current.swap(reached.host, Ordering::Relaxed) != reached.host
                        && let Some(host) = self.hosts.get(reached.host)
                    {
                        tracing::warn!(host = host.place, failed = %ConnectError::of(failures), "moved to another database host");
                    }
                    return Ok(reached);
                }
                Err(failure) => failures.push(failure),
            }
        }
        Err(PostgresError::Connect(ConnectError::of(failures)))
    }

    /// Tests an open connection: it answers, and its host is still one that is acceptable.
    pub(super) async fn accepts(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        Ok(session::takes_writes(connection).await? || !self.wants_writes)
    }

    /// Returns the options of a host that takes writes, for a driver that connects by itself.
    pub(super) async fn options(&self, purpose: Purpose) -> Result<PgConnectOptions, PostgresError> {
        Ok(self.connect(purpose).await?.options)
    }

    async fn reach(
        &self,
        (index, Host { place, options }): (usize, &Host),
        purpose: Purpose,
        password: Option<&str>,
        limit: Duration,
    ) -> Result<Reached, HostFailure> {
        let options = purpose.applied_to(options.clone());
        let options = match password {
            Some(password) => options.password(password),
            None => options,
        };
        let connect = async {
            let mut connection = options.connect().await?;
            let takes_writes = session::set(&mut connection, purpose, self.listens).await?;
            Ok::<_, sqlx::Error>((connection, takes_writes))
        };
        match tokio::time::timeout(limit, connect).await {
            Ok(Ok((_, false))) if self.wants_writes => Err(HostFailure::ReadOnly { place: place.clone() }),
            Ok(Ok((connection, _))) => Ok(Reached { connection, host: index, options }),
            // The password is being changed, and the file will be replaced.
            Ok(Err(error)) if password.is_some() && is_rejected(&error) => {
                Err(HostFailure::Rejected { place: place.clone(), error })
            }
            Ok(Err(error)) => Err(HostFailure::Driver { place: place.clone(), error }),
            Err(_elapsed) => Err(HostFailure::Silent { place: place.clone(), seconds: limit.as_secs() }),
        }
    }

    /// Reads the password file, so that a changed password applies from the next connect on.
    async fn password(&self) -> Result<Option<String>, PostgresError> {
        let Some(file) = &self.password else { return Ok(None) };
        let failed = |error: std::io::Error| {
            PostgresError::Connect(ConnectError::of(vec![HostFailure::Password {
                path: file.path().to_owned(),
                error,
            }]))
        };
        let bytes = match file.read_if_changed(None).await.map_err(failed)? {
            FileContent::Changed(_, bytes) => bytes,
            FileContent::Unchanged => Vec::new(),
        };
        // The error of the conversion would hold the password.
        let text = String::from_utf8(bytes).unwrap_or_default();
        let line = secret_line(&text).ok_or_else(|| failed(std::io::Error::other("it must hold one line")))?;
        Ok(Some(line.to_owned()))
    }
}

impl Host {
    fn of(url: &Url) -> Result<Self, sqlx::Error> {
        let options = <PgConnectOptions as sqlx::ConnectOptions>::from_url(url)?;
        let place = match options.get_socket() {
            Some(socket) => format!("{}:{}", socket.display(), options.get_port()),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        Ok(Self { place, options })
    }
}

impl Debug for Hosts {
    /// Omits the options, because they contain the password.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.hosts.iter().map(|host| &host.place)).finish()
    }
}
