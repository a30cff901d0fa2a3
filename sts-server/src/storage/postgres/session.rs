//! The uses of a connection, and its settings.

use sqlx::Row as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

/// The `application_name` of connections that commit. A revocation ends their stuck commits, and so
/// it is the same in every server and command.
pub(super) const APPLICATION_NAME: &str = "sts-server";

/// Makes an acknowledged commit durable, and limits the time of a statement. If a server stops
/// inside a transaction, the last limit releases its locks. A statement outside a transaction gets
/// the same isolation.
const REQUESTS: &str =
    "SELECT set_config('synchronous_commit', 'on', FALSE) WHERE current_setting('synchronous_commit') = 'off';
     SELECT set_config('default_transaction_isolation', 'read committed', FALSE),
            set_config('statement_timeout', '5s', FALSE), set_config('lock_timeout', '4s', FALSE),
            set_config('idle_in_transaction_session_timeout', '5s', FALSE);
     SELECT current_setting('transaction_read_only') = 'off' AS takes_writes";
/// Lifts the limits that the role may have.
const MIGRATIONS: &str = "SELECT set_config('statement_timeout', '0', FALSE), set_config('lock_timeout', '0', FALSE),
            set_config('idle_in_transaction_session_timeout', '0', FALSE);
     SELECT current_setting('transaction_read_only') = 'off' AS takes_writes";
const UNCHANGED: &str = "SELECT current_setting('transaction_read_only') = 'off' AS takes_writes";

/// The use of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Requests, with short time limits.
    Requests,
    /// Migrations, which may take minutes.
    Migrations,
    /// Hearing notifications.
    Listening,
}

impl Purpose {
    /// Returns the options for this use.
    pub(super) fn applied_to(self, options: PgConnectOptions) -> PgConnectOptions {
        // A pooler refuses this parameter, and no value here is a floating-point number.
        let options = options.extra_float_digits(None);
        match self {
            Self::Requests | Self::Migrations => options.application_name(APPLICATION_NAME),
            Self::Listening => options.application_name("sts-server listen"),
        }
    }
}

/// Returns true if the host of a connection takes writes now.
pub(super) async fn takes_writes(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    last_of(connection, UNCHANGED).await
}

/// Makes the settings of a connection, unless a pooler would lose them (`keeps` is false). Returns
/// true if its host takes writes.
pub(super) async fn set(connection: &mut PgConnection, purpose: Purpose, keeps: bool) -> Result<bool, sqlx::Error> {
    let statement = match purpose {
        Purpose::Requests if keeps => REQUESTS,
        Purpose::Migrations if keeps => MIGRATIONS,
        Purpose::Requests | Purpose::Migrations | Purpose::Listening => UNCHANGED,
    };
    last_of(connection, statement).await
}

async fn last_of(connection: &mut PgConnection, statement: &'static str) -> Result<bool, sqlx::Error> {
    let rows = sqlx::raw_sql(statement).fetch_all(connection).await?;
    rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get("takes_writes")
}
