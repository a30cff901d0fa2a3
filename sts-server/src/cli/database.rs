//! The errors of a database, with its name.

use std::error::Error;
use std::path::Path;

use sts_jose::error_chain;
use url::Url;

use super::CliError;
use super::arguments::Options;
use super::output;
use crate::config::Database;
use crate::server::StartError;
use crate::storage::StorageError;

/// The codes in the driver's messages (<https://www.sqlite.org/rescode.html>), in plain words.
const FILE_ERRORS: [(&str, &str); 4] = [
    ("(code: 26)", "it is not an SQLite database"),
    ("(code: 5)", "another process has locked it"),
    ("(code: 8)", "this user may not write it"),
    ("Permission denied", "this user may not read and write it and its folder"),
];

/// Adds the name of the configured database to an error that it caused.
pub(super) fn named(error: CliError, options: &Options) -> CliError {
    let config =
        is_of_a_database(&error).then(|| output::loaded(options).ok().and_then(|loaded| loaded.config)).flatten();
    match config {
        Some(config) => with_name(error, &config.database),
        None => error,
    }
}

/// Adds the name of a database to an error that it caused.
pub(super) fn with_name(error: CliError, database: &Database) -> CliError {
    if !is_of_a_database(&error) {
        return error;
    }
    let said = error_chain(&error);
    let plain = database.sqlite_path().and_then(|path| of_a_file(&path, &said));
    let source: Box<dyn Error + Send + Sync> = match (plain, error) {
        (Some(plain), _) => plain.into(),
        (None, CliError::Storage(error) | CliError::Start(StartError::Storage(error))) => error.into(),
        (None, error) => error.into(),
    };
    CliError::Database { database: name(database), source }
}

fn is_of_a_database(error: &(dyn Error + 'static)) -> bool {
    error.is::<StorageError>() || error.source().is_some_and(is_of_a_database)
}

/// Returns the plain words for an error of a `SQLite` file.
fn of_a_file(path: &Path, said: &str) -> Option<&'static str> {
    if path.is_dir() {
        return Some("it is a folder");
    }
    if path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return Some("its folder does not exist");
    }
    FILE_ERRORS.into_iter().find_map(|(code, words)| said.contains(code).then_some(words))
}

/// Returns the file of a `SQLite` database, or the address of another one without its credentials.
fn name(database: &Database) -> String {
    if let Some(path) = database.sqlite_path() {
        return path.display().to_string();
    }
    let Ok(url) = Url::parse(&database.url) else { return "database.url".to_owned() };
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}
