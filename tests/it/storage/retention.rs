//! The removal of old audit rows, and the upgrade of a database that has rows.

use aws_lc_rs::hmac;
use jiff::{SignedDuration, Timestamp};
use sts_jose::SystemEntropy;
use sts_server::record::{self, AuditWriter, Event, EventKind, RetentionError};
use sts_server::storage::{AuditCheckpoint, AuditFilter, Store};

use super::database::TestDatabase;
use super::rows::{audit, audit_rows};

fn key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &[7; 32])
}

fn minute(minute: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute)
}

/// Two chains, of which each has an event in every minute.
async fn fill(store: &dyn Store, minutes: i64) {
    let mut writers = [AuditWriter::new(key(), &SystemEntropy), AuditWriter::new(key(), &SystemEntropy)];
    for number in 0..minutes {
        let event = Event::new(EventKind::TokenIssued, minute(number));
        store.append_audit(&writers.each_mut().map(|writer| writer.seal(&event))).await.unwrap();
    }
}

/// A single chain of so many events, each in a minute of its own.
async fn fill_one(store: &dyn Store, events: i64) {
    let mut writer = AuditWriter::new(key(), &SystemEntropy);
    let rows: Vec<_> =
        (0..events).map(|number| writer.seal(&Event::new(EventKind::TokenIssued, minute(number)))).collect();
    store.append_audit(&rows).await.unwrap();
}

/// What two servers remove that shorten the log at once, each again until nothing is left to remove.
pub(super) async fn servers_that_shorten_at_once_find_no_fault(database: &TestDatabase) {
    let servers = [database.store().await, database.store().await];
    fill_one(&*servers[0], 5_001).await;
    let shorten = async |store: &dyn Store| {
        let mut removed = 0;
        while store.audit(&AuditFilter::default(), 2).await.unwrap().rows.len() > 1 {
            removed += record::shorten(store, &[key()], minute(5_000)).await.unwrap();
        }
        removed
    };
    let (one, other) = tokio::join!(shorten(&*servers[0]), shorten(&*servers[1]));
    assert_eq!(one + other, 5_000);
    assert_verifies(&*servers[0], 1).await;
}

async fn assert_verifies(store: &dyn Store, rows: u64) {
    let report = record::verify(store, &[key()], &[]).await.unwrap();
    assert_eq!((report.rows, report.faults), (rows, vec![]));
}

pub(super) async fn what_remains_after_a_cut_verifies(database: &TestDatabase) {
    let store = database.store().await;
    fill(&*store, 10).await;
    let heads = store.audit_heads().await.unwrap();
    for (before, removed, left) in [(0, 0, 20), (4, 8, 12), (4, 0, 12), (7, 6, 6), (100, 5, 1), (100, 0, 1)] {
        assert_eq!(record::shorten(&*store, &[key()], minute(before)).await.unwrap(), removed, "before {before}");
        assert_verifies(&*store, left).await;
    }
    // The heads of chains that were removed on purpose, but no other.
    assert_eq!(record::verify(&*store, &[key()], &heads).await.unwrap().faults, []);
    let mut other = heads;
    other[0].writer_sequence += 1;
    assert_eq!(record::verify(&*store, &[key()], &other).await.unwrap().faults.len(), 1);
}

pub(super) async fn a_row_removed_beyond_the_cut_is_missing(database: &TestDatabase) {
    let store = database.store().await;
    fill(&*store, 6).await;
    record::shorten(&*store, &[key()], minute(2)).await.unwrap();
    database.execute("DELETE FROM audit_events WHERE writer_sequence = 3").await;
    let report = record::verify(&*store, &[key()], &[]).await.unwrap();
    assert_eq!(
        report.faults.iter().map(|fault| (fault.name(), fault.row().1)).collect::<Vec<_>>(),
        [("missing", 3); 2]
    );
    let error = record::shorten(&*store, &[key()], minute(9)).await.unwrap_err();
    assert!(matches!(error, RetentionError::Fault(_)), "{error:?}");
    assert_eq!(audit_rows(&*store).await.len(), 6, "a log with a fault is kept");
}

pub(super) async fn a_forged_checkpoint_hides_nothing(database: &TestDatabase) {
    let store = database.store().await;
    fill(&*store, 4).await;
    let row = store.audit(&AuditFilter::default(), 1).await.unwrap().rows.remove(0);
    let forged = AuditCheckpoint {
        writer: row.row.writer.clone(),
        writer_sequence: 1,
        mac: row.row.mac.clone(),
        seal: vec![0; 32],
    };
    assert_eq!(store.cut_audit(row.id, &[forged]).await.unwrap(), 1);
    let report = record::verify(&*store, &[key()], &[]).await.unwrap();
    assert_eq!(report.faults.iter().map(|fault| (fault.name(), fault.row().1)).collect::<Vec<_>>(), [("missing", 1)]);
}

pub(super) async fn an_earlier_checkpoint_does_not_replace_a_later_one(database: &TestDatabase) {
    let store = database.store().await;
    let checkpoint = |writer: &str, writer_sequence| AuditCheckpoint {
        writer: writer.to_owned(),
        writer_sequence,
        mac: vec![1; 32],
        seal: vec![2; 32],
    };
    store.append_audit(&[audit("a", 1), audit("b", 1)]).await.unwrap();
    assert_eq!(store.cut_audit(0, &[checkpoint("b", 3), checkpoint("a", 5)]).await.unwrap(), 0);
    store.cut_audit(0, &[checkpoint("a", 4), checkpoint("b", 4)]).await.unwrap();
    assert_eq!(store.audit_checkpoints(None, 10).await.unwrap(), [checkpoint("a", 5), checkpoint("b", 4)]);
    assert_eq!(audit_rows(&*store).await.len(), 2);
}

pub(super) async fn an_archive_verifies_and_an_edited_one_does_not(database: &TestDatabase) {
    let store = database.store().await;
    fill(&*store, 6).await;
    record::shorten(&*store, &[key()], minute(2)).await.unwrap();
    let mut file: Vec<u8> = Vec::new();
    let times = (minute(9), Some(minute(4)));
    let rows = record::archive(&*store, &[key()], "https://sts.example.com", times, &mut file).await.unwrap();
    assert_eq!(rows, 4, "two minutes of two chains");
    let report = record::verify_archive(&[key()], &mut file.as_slice()).unwrap();
    assert_eq!((report.rows, report.writers, report.faults.len()), (4, 2, 0));
    let text = String::from_utf8(file).unwrap();
    let without = |line: usize| {
        let kept = text.lines().enumerate().filter(|(index, _)| *index != line).map(|(_, line)| format!("{line}\n"));
        kept.collect::<String>()
    };
    for line in 0..text.lines().count() {
        assert!(record::verify_archive(&[key()], &mut without(line).as_bytes()).is_err(), "without line {line}");
    }
    let edited = text.replace("token.issued", "token.refused");
    let other = [hmac::Key::new(hmac::HMAC_SHA256, &[8; 32])];
    assert!(record::verify_archive(&[key()], &mut edited.as_bytes()).is_err());
    assert!(record::verify_archive(&[key()], &mut format!("{text}{text}").as_bytes()).is_err());
    assert!(record::verify_archive(&other, &mut text.as_bytes()).is_err());
}

/// Adds an event of each of these minutes, all in one chain.
async fn fill_minutes(store: &dyn Store, minutes: &[i64]) {
    let mut writer = AuditWriter::new(key(), &SystemEntropy);
    let rows: Vec<_> =
        minutes.iter().map(|number| writer.seal(&Event::new(EventKind::TokenIssued, minute(*number)))).collect();
    store.append_audit(&rows).await.unwrap();
}

/// The numbers of rows and of faults of an archive of the events before a minute, or of all.
async fn archived(store: &dyn Store, before: Option<i64>) -> (u64, usize) {
    let mut file: Vec<u8> = Vec::new();
    let times = (minute(1_000), before.map(minute));
    record::archive(store, &[key()], "https://sts.example.com", times, &mut file).await.unwrap();
    let report = record::verify_archive(&[key()], &mut file.as_slice()).unwrap();
    (report.rows, report.faults.len())
}

pub(super) async fn an_archive_has_the_events_up_to_the_first_recent_one_in_the_order_of_the_log(
    database: &TestDatabase,
) {
    let store = database.store().await;
    fill_minutes(&*store, &[0, 1, 3, 2, 4]).await;
    for (before, rows) in [(1, 1), (2, 2), (3, 2), (4, 4), (9, 5)] {
        assert_eq!(archived(&*store, Some(before)).await, (rows, 0), "before {before}");
    }
}

pub(super) async fn an_archive_of_all_has_the_events_after_one_of_a_clock_that_is_ahead(database: &TestDatabase) {
    let store = database.store().await;
    fill_minutes(&*store, &[0, 61, 2, 3]).await;
    database.execute("UPDATE audit_events SET at = 9223372036854775807, body = 'x' WHERE writer_sequence = 3").await;
    assert_eq!(archived(&*store, None).await.0, 4);
}

pub(super) async fn an_edited_time_keeps_no_row_unnoticed(database: &TestDatabase) {
    let store = database.store().await;
    fill_minutes(&*store, &[0, 1, 2]).await;
    database.execute("UPDATE audit_events SET body = replace(body, '1970', '9970') WHERE writer_sequence = 1").await;
    let error = record::shorten(&*store, &[key()], minute(9)).await.unwrap_err();
    assert!(matches!(error, RetentionError::Fault(_)), "{error:?}");
    database.execute("UPDATE audit_events SET body = 'x', at = 9223372036854775807 WHERE writer_sequence = 1").await;
    let error = record::shorten(&*store, &[key()], minute(9)).await.unwrap_err();
    assert!(matches!(error, RetentionError::Fault(_)), "{error:?}");
}

pub(super) async fn a_follower_sees_the_event_after_a_log_was_shortened_whole(database: &TestDatabase) {
    let store = database.store().await;
    fill(&*store, 3).await;
    let cursor = store.audit(&AuditFilter::default(), 10).await.unwrap().rows.last().map(|row| row.id);
    record::shorten(&*store, &[key()], minute(100)).await.unwrap();
    store.append_audit(&[audit("next", 1)]).await.unwrap();
    let page = store.audit(&AuditFilter { after_id: cursor, ..AuditFilter::default() }, 10).await.unwrap();
    assert_eq!(page.rows.iter().map(|row| row.row.writer.as_str()).collect::<Vec<_>>(), ["next"]);
}

pub(super) async fn checkpoints_are_read_by_their_writers_or_in_pages(database: &TestDatabase) {
    let store = database.store().await;
    let checkpoint = |number: i64| AuditCheckpoint {
        writer: format!("w{number:05}"),
        writer_sequence: 1,
        mac: vec![1; 32],
        seal: vec![2; 32],
    };
    let all: Vec<_> = (0..2_500).map(checkpoint).collect();
    store.cut_audit(0, &all).await.unwrap();
    let of_writers = store.audit_checkpoints_of(&["w00700", "w00007", "absent"]).await.unwrap();
    assert_eq!(of_writers, [checkpoint(7), checkpoint(700)]);
    assert_eq!(store.audit_checkpoints_of(&[]).await.unwrap(), []);
    assert_eq!(store.audit_checkpoints(None, 2).await.unwrap(), all[..2]);
    assert_eq!(store.audit_checkpoints(Some("w02497"), 2).await.unwrap(), all[2_498..]);
    assert_eq!(store.audit_checkpoints(Some("w02499"), 2).await.unwrap(), []);
}

pub(super) async fn a_log_of_thousands_of_chains_is_shortened_and_verifies(database: &TestDatabase) {
    let store = database.store().await;
    let event = Event::new(EventKind::RegistryChanged, minute(0));
    let rows: Vec<_> = (0..2_500).map(|_| AuditWriter::seal_alone(&key(), &SystemEntropy, &event)).collect();
    store.append_audit(&rows).await.unwrap();
    let heads = store.audit_heads().await.unwrap();
    assert_eq!(record::shorten(&*store, &[key()], minute(1)).await.unwrap(), 2_499);
    assert_eq!(record::verify(&*store, &[key()], &heads).await.unwrap().faults, []);
}
