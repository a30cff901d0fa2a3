//! Audit rows.

use sts_server::storage::{
    AUDIT_PAGE_BYTES, AuditField, AuditFilter, AuditHead, AuditMember, AuditOrder, AuditRow, AuditScan, DelegationUses,
    Store, StoredAuditRow,
};

use super::database::TestDatabase;
use super::rows::{audit, audit_rows, future_by};

/// Rows that differ in what a filter can select.
fn events() -> Vec<AuditRow> {
    let event =
        |sequence, by, body: &str| AuditRow { at: future_by(by), body: body.to_owned(), ..audit("w", sequence) };
    vec![
        event(1, 1, r#"{"event":"revoked","actors":["cron","web"]}"#),
        event(
            2,
            4,
            r#"{"event":"token.issued","correlation_id":"c","client_id":"web","sub":"größer \"than\"","txn":"t"}"#,
        ),
        event(
            3,
            2,
            r#"{"event":"token.issued","correlation_id":"c","client_id":"web","sub":"bob","jti":"j","txn":"t"}"#,
        ),
        event(
            4,
            3,
            r#"{"event":"token.refused","correlation_id":"d","client_id":"cron","sub":"bob","jti":"k","txn":"t"}"#,
        ),
    ]
}

/// Members of which an event has one.
fn one_of(members: &[(AuditField, &str)]) -> Vec<AuditMember> {
    members.iter().map(|(field, value)| AuditMember::new(*field, value)).collect()
}

fn sequences(rows: &[StoredAuditRow]) -> Vec<i64> {
    rows.iter().map(|stored| stored.row.writer_sequence).collect()
}

pub(super) async fn rows_are_read_in_the_order_of_their_ids(database: &TestDatabase) {
    let store = database.store().await;
    let rows = [audit("b", 2), audit("a", 1), audit("b", 1)];
    store.append_audit(&rows).await.unwrap();
    store.append_audit(&[]).await.unwrap();
    store.append_audit(&[audit("a", 2)]).await.unwrap();
    let stored = store.audit(&AuditFilter::default(), 10).await.unwrap().rows;
    assert!(stored.is_sorted_by(|earlier, later| earlier.id < later.id));
    let [first, second, third] = rows;
    assert_eq!(audit_rows(&*store).await, [first, second, third, audit("a", 2)]);
    assert_eq!(store.audit(&AuditFilter::default(), 2).await.unwrap().rows, stored[..2]);
    assert_eq!(store.audit(&AuditFilter::default(), 0).await.unwrap().rows, []);
}

pub(super) async fn each_filter_selects_its_rows(database: &TestDatabase) {
    let store = database.store().await;
    store.append_audit(&events()).await.unwrap();
    let ids: Vec<i64> = store.audit(&AuditFilter::default(), 10).await.unwrap().rows.iter().map(|row| row.id).collect();
    let some = |text: &str| Some(text.to_owned());
    for (filter, expected) in [
        (AuditFilter { after_id: Some(ids[1]), ..AuditFilter::default() }, vec![3, 4]),
        (AuditFilter { since: Some(future_by(3)), ..AuditFilter::default() }, vec![2, 4]),
        (AuditFilter { correlation_id: some("c"), ..AuditFilter::default() }, vec![2, 3]),
        (AuditFilter { txn: some("t"), ..AuditFilter::default() }, vec![2, 3, 4]),
        (AuditFilter { jti: some("j"), ..AuditFilter::default() }, vec![3]),
        (AuditFilter { until: Some(future_by(2)), ..AuditFilter::default() }, vec![1, 3]),
        (AuditFilter { order: AuditOrder::NewestFirst, ..AuditFilter::default() }, vec![4, 3, 2, 1]),
        (AuditFilter { order: AuditOrder::NewestFirst, after_id: Some(ids[2]), ..AuditFilter::default() }, vec![2, 1]),
        (AuditFilter { members: vec![one_of(&[(AuditField::Sub, "größer")])], ..AuditFilter::default() }, vec![]),
        (
            AuditFilter { members: vec![one_of(&[(AuditField::Sub, "größer \"than\"")])], ..AuditFilter::default() },
            vec![2],
        ),
        (AuditFilter { members: vec![one_of(&[(AuditField::FirstActor, "web")])], ..AuditFilter::default() }, vec![]),
        (
            AuditFilter {
                members: vec![one_of(&[(AuditField::ClientId, "cron"), (AuditField::FirstActor, "cron")])],
                ..AuditFilter::default()
            },
            vec![1, 4],
        ),
        (
            AuditFilter {
                members: vec![one_of(&[(AuditField::ClientId, "web")]), one_of(&[(AuditField::Sub, "bob")])],
                ..AuditFilter::default()
            },
            vec![3],
        ),
        (AuditFilter { members: vec![one_of(&[(AuditField::Sub, "bob")]), vec![]], ..AuditFilter::default() }, vec![]),
        (AuditFilter { jti: some("J"), ..AuditFilter::default() }, vec![]),
        (AuditFilter { jti: some("' OR TRUE --"), ..AuditFilter::default() }, vec![]),
    ] {
        assert_eq!(sequences(&store.audit(&filter, 10).await.unwrap().rows), expected, "{filter:?}");
    }
}

pub(super) async fn filters_add_up(database: &TestDatabase) {
    let store = database.store().await;
    store.append_audit(&events()).await.unwrap();
    let all = AuditFilter {
        since: Some(future_by(2)),
        correlation_id: Some("c".to_owned()),
        txn: Some("t".to_owned()),
        jti: Some("j".to_owned()),
        until: Some(future_by(2)),
        members: vec![
            one_of(&[(AuditField::ClientId, "none"), (AuditField::ClientId, "web")]),
            one_of(&[(AuditField::Sub, "bob")]),
        ],
        order: AuditOrder::NewestFirst,
        after_id: Some(i64::MAX),
        scan: AuditScan::EveryRow,
    };
    assert_eq!(sequences(&store.audit(&all, 10).await.unwrap().rows), [3]);
    let other = AuditFilter { correlation_id: Some("d".to_owned()), ..all };
    assert_eq!(store.audit(&other, 10).await.unwrap().rows, []);
}

pub(super) async fn reading_on_from_the_last_id_misses_nothing(database: &TestDatabase) {
    let store = database.store().await;
    let rows: Vec<AuditRow> = (1..=10).map(|number| audit("w", number)).collect();
    store.append_audit(&rows).await.unwrap();
    let mut read = Vec::new();
    let mut filter = AuditFilter::default();
    loop {
        let page = store.audit(&filter, 3).await.unwrap().rows;
        let Some(last) = page.last() else { break };
        filter.after_id = Some(last.id);
        read.extend(page.into_iter().map(|stored| stored.row.well_formed().unwrap()));
    }
    assert_eq!(read, rows);
}

pub(super) async fn a_search_by_time_finds_events_that_were_committed_out_of_order(database: &TestDatabase) {
    let store = database.store().await;
    let minutes = |minutes: i64| future_by(minutes * 60_000);
    let at = [0, 10, 12, 9, 11, 30].map(minutes);
    let rows: Vec<AuditRow> = (1..).zip(at).map(|(sequence, at)| AuditRow { at, ..audit("w", sequence) }).collect();
    store.append_audit(&rows).await.unwrap();
    for (since, expected) in
        [(0, vec![1, 2, 3, 4, 5, 6]), (9, vec![2, 3, 4, 5, 6]), (10, vec![2, 3, 5, 6]), (31, vec![])]
    {
        let filter = AuditFilter { since: Some(minutes(since)), ..AuditFilter::default() };
        assert_eq!(sequences(&store.audit(&filter, 10).await.unwrap().rows), expected, "since {since}");
    }
}

pub(super) async fn a_single_wrong_time_hides_no_other_row(database: &TestDatabase) {
    let store = database.store().await;
    let event = |sequence| AuditRow { at: future_by(sequence * 3_600_000), ..audit("w", sequence) };
    store.append_audit(&(1..=1000).map(event).collect::<Vec<_>>()).await.unwrap();
    let hours = |hours: i64| Some(future_by(hours * 3_600_000));
    for wrong in [
        "UPDATE audit_events SET at = 0 WHERE writer_sequence = 500",
        "UPDATE audit_events SET at = 9223372036854775807 WHERE writer_sequence = 500",
    ] {
        database.execute(wrong).await;
        for (since, until) in [(100, 200), (490, 499), (501, 510), (1, 1000), (990, 1000), (1, 3)] {
            let filter = AuditFilter { since: hours(since), until: hours(until), ..AuditFilter::default() };
            let found = sequences(&store.audit(&filter, 2000).await.unwrap().rows);
            let expected: Vec<i64> = (since..=until).filter(|sequence| *sequence != 500).collect();
            assert_eq!(found, expected, "{since} to {until}: {wrong}");
        }
    }
}

/// Finds all rows of a search, page by page.
async fn found(store: &dyn Store, mut filter: AuditFilter) -> Vec<i64> {
    let mut found = Vec::new();
    loop {
        let page = store.audit(&filter, 3).await.unwrap();
        found.extend(sequences(&page.rows));
        filter.after_id = page.next;
        if page.next.is_none() {
            return found;
        }
    }
}

/// 1,600 events of three users; one in 500 is of "rare", one in 100 of "cron".
fn many_events() -> Vec<AuditRow> {
    let user = |sequence| match sequence % 500 {
        7 => "rare".to_owned(),
        _ => format!("user-{}", sequence % 3),
    };
    let client = |sequence| if sequence % 100 == 0 { "cron" } else { "web" };
    let event = |sequence| {
        let (user, client) = (user(sequence), client(sequence));
        let body = format!(
            r#"{{"event":"token.issued","client_id":"{client}","sub":"{user}","txn":"t-{}","jti":"j-{sequence}"}}"#,
            sequence / 2
        );
        AuditRow { body, at: future_by(sequence), ..audit("w", sequence) }
    };
    (1..=1600).map(event).collect()
}

pub(super) async fn a_summarized_log_answers_as_one_without_summaries(database: &TestDatabase) {
    let store = database.store().await;
    assert_eq!(store.summarize_audit().await.unwrap(), 0, "an empty log");
    store.append_audit(&many_events()).await.unwrap();
    let newest = AuditOrder::NewestFirst;
    let of = |field, value| AuditFilter { members: vec![one_of(&[(field, value)])], ..AuditFilter::default() };
    let searches = [
        of(AuditField::Sub, "rare"),
        AuditFilter { order: newest, ..of(AuditField::Sub, "rare") },
        AuditFilter { order: newest, until: Some(future_by(1000)), ..of(AuditField::ClientId, "cron") },
        AuditFilter { since: Some(future_by(1000)), ..of(AuditField::ClientId, "cron") },
        AuditFilter { txn: Some("t-400".to_owned()), ..AuditFilter::default() },
        AuditFilter { jti: Some("j-1".to_owned()), order: newest, ..of(AuditField::ClientId, "web") },
        AuditFilter { jti: Some("j-1600".to_owned()), ..AuditFilter::default() },
        of(AuditField::Sub, "nobody"),
    ];
    let mut before = Vec::new();
    for search in &searches {
        before.push(found(&*store, search.clone()).await);
    }
    assert_eq!(before[0], [7, 507, 1007, 1507]);
    assert_eq!(before[4], [800, 801]);
    while store.summarize_audit().await.unwrap() > 0 {}
    for (search, before) in searches.iter().zip(before) {
        assert_eq!(found(&*store, search.clone()).await, before, "{search:?}");
    }
    // A search passes over segments whose filters hold nothing.
    database.execute("UPDATE audit_summaries SET names = identifiers WHERE segment = 3").await;
    database.execute("DELETE FROM audit_summaries WHERE segment = 1").await;
    assert_eq!(found(&*store, searches[0].clone()).await, [7, 507, 1507]);
    // A filter that is longer than any that a server writes decides nothing.
    if database.url().starts_with("sqlite") {
        database.execute("UPDATE audit_summaries SET names = zeroblob(1000000) WHERE segment = 3").await;
    } else {
        database
            .execute("UPDATE audit_summaries SET names = decode(repeat('00', 1000000), 'hex') WHERE segment = 3")
            .await;
    }
    assert_eq!(found(&*store, searches[0].clone()).await, [7, 507, 1007, 1507]);
    store.cut_audit(1100, &[]).await.unwrap();
    store.append_audit(&[AuditRow { body: r#"{"sub":"rare"}"#.to_owned(), ..audit("v", 1) }]).await.unwrap();
    while store.summarize_audit().await.unwrap() > 0 {}
    assert_eq!(found(&*store, searches[0].clone()).await, [1507, 1]);
}

pub(super) async fn uses_are_counted_once_and_the_last_one_stays(database: &TestDatabase) {
    let store = database.store().await;
    let event = |sequence: i64, delegation: &str, kind: &str| {
        let at = future_by(sequence);
        let body = format!(r#"{{"event":"{kind}","at":"{at}","delegation":"{delegation}"}}"#);
        AuditRow { body, at, ..audit("w", sequence) }
    };
    let mut rows: Vec<AuditRow> = (1..=600).map(|sequence| audit("w", sequence)).collect();
    for (sequence, delegation, kind) in [
        (9, "a->b", "token.issued"),
        (8, "a->b", "token.issued"),
        (12, "b->c", "approval.requested"),
        // A forged event stops no summary.
        (13, r"a\u0000", "token.issued"),
    ] {
        rows[usize::try_from(sequence).unwrap() - 1] = event(sequence, delegation, kind);
    }
    // A use in the segment that is not whole yet.
    rows[589] = event(590, "b->c", "token.issued");
    store.append_audit(&rows).await.unwrap();
    let uses = async || store.delegation_uses(&["a->b", "b->c", "c->d"]).await.unwrap();
    assert_eq!(uses().await, DelegationUses { used: Vec::new(), counted_through: None, is_whole: true });
    while store.summarize_audit().await.unwrap() > 0 {}
    let used = vec![("a->b".to_owned(), future_by(9))];
    let counted = DelegationUses { used, counted_through: Some(511), is_whole: true };
    assert_eq!(uses().await, counted);
    // A server of an earlier release counts none. Its segments are counted again, and the filters stay.
    database.execute("UPDATE audit_summaries SET counts_uses = 0").await;
    database.execute("DELETE FROM delegation_uses").await;
    while store.summarize_audit().await.unwrap() > 0 {}
    assert_eq!(uses().await, counted);
    store.cut_audit(600, &[]).await.unwrap();
    assert_eq!(uses().await.used, counted.used, "uses outlive their events");
}

pub(super) async fn after_an_upgrade_new_segments_are_summarized_before_old_uses_are_counted(database: &TestDatabase) {
    let store = database.store().await;
    let event = |sequence: i64| {
        let (at, delegation) = (future_by(sequence), if sequence < 1100 { "old" } else { "new" });
        let body = format!(r#"{{"event":"token.issued","at":"{at}","delegation":"{delegation}"}}"#);
        AuditRow { body, at, ..audit("w", sequence) }
    };
    store.append_audit(&(1..=1536).map(event).collect::<Vec<_>>()).await.unwrap();
    while store.summarize_audit().await.unwrap() > 0 {}
    database.execute("UPDATE audit_summaries SET counts_uses = 0").await;
    database.execute("DELETE FROM delegation_uses").await;
    store.append_audit(&(1537..=1800).map(event).collect::<Vec<_>>()).await.unwrap();

    let uses = async || store.delegation_uses(&["old", "new"]).await.unwrap();
    assert_eq!(uses().await, DelegationUses { used: Vec::new(), counted_through: Some(1535), is_whole: false });
    assert_eq!(store.summarize_audit().await.unwrap(), 1, "the new segment alone");
    let new = ("new".to_owned(), future_by(1791));
    assert_eq!(uses().await, DelegationUses { used: vec![new.clone()], counted_through: Some(1791), is_whole: false });
    assert_eq!(store.summarize_audit().await.unwrap(), 4, "a bounded number of old segments");
    assert!(!uses().await.is_whole);
    assert_eq!(store.summarize_audit().await.unwrap(), 2);
    assert_eq!(store.summarize_audit().await.unwrap(), 0);
    let mut whole = uses().await;
    whole.used.sort();
    let used = vec![new, ("old".to_owned(), future_by(1099))];
    assert_eq!(whole, DelegationUses { used, counted_through: Some(1791), is_whole: true });
}

pub(super) async fn an_id_that_is_given_out_again_is_not_passed_over(database: &TestDatabase) {
    let store = database.store().await;
    let rare = AuditFilter { members: vec![one_of(&[(AuditField::Sub, "rare")])], ..AuditFilter::default() };
    store.append_audit(&(1..=600).map(|sequence| audit("w", sequence)).collect::<Vec<_>>()).await.unwrap();
    while store.summarize_audit().await.unwrap() > 0 {}
    store.cut_audit(600, &[]).await.unwrap();
    store.append_audit(&[AuditRow { body: r#"{"sub":"rare"}"#.to_owned(), ..audit("v", 1) }]).await.unwrap();
    assert_eq!(found(&*store, rare).await, [1]);
}

pub(super) async fn a_page_is_bounded_by_the_bytes_of_its_rows(database: &TestDatabase) {
    let store = database.store().await;
    let large = |sequence: i64, bytes: usize| AuditRow { body: "x".repeat(bytes), ..audit("w", sequence) };
    let mut rows: Vec<AuditRow> = (1..=7).map(|sequence| large(sequence, 400_000)).collect();
    rows.extend([large(8, AUDIT_PAGE_BYTES + 1), large(9, 10)]);
    store.append_audit(&rows).await.unwrap();
    let (mut by_id, mut by_chain) = (Vec::new(), Vec::new());
    let mut filter = AuditFilter::default();
    loop {
        let page = store.audit(&filter, 100).await.unwrap().rows;
        let Some(last) = page.last() else { break };
        filter.after_id = Some(last.id);
        by_id.push(sequences(&page));
    }
    let mut after = None;
    loop {
        let page = store.audit_chain(after.map(|sequence| ("w", sequence)), 100).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.row.writer_sequence);
        assert!(page.iter().all(|row| (row.row.body.is_empty()) == (row.row.writer_sequence == 8)), "too long to read");
        by_chain.push(sequences(&page));
    }
    assert_eq!(by_id, [vec![1, 2, 3], vec![4, 5, 6], vec![7, 8], vec![9]]);
    assert_eq!(by_chain, by_id);
}

pub(super) async fn a_malformed_row_hides_no_other(database: &TestDatabase) {
    let store = database.store().await;
    store.append_audit(&[audit("w", 1), audit("w", 2), audit("w", 3), audit("w", 4)]).await.unwrap();
    database.execute("UPDATE audit_events SET at = 9223372036854775807 WHERE writer_sequence = 2").await;
    if database.url().starts_with("sqlite") {
        database.execute("UPDATE audit_events SET mac = x'00' WHERE writer_sequence = 4").await;
        database.execute("UPDATE audit_events SET body = CAST(x'ff' AS TEXT) WHERE writer_sequence = 3").await;
    } else {
        database.execute("UPDATE audit_events SET mac = '\\x00' WHERE writer_sequence = 4").await;
    }
    let by_id = store.audit(&AuditFilter::default(), 10).await.unwrap().rows;
    assert_eq!(sequences(&by_id), [1, 2, 3, 4]);
    assert_eq!(store.audit_chain(None, 10).await.unwrap(), by_id);
    let well_formed: Vec<i64> =
        by_id.iter().filter_map(|row| row.row.well_formed()).map(|row| row.writer_sequence).collect();
    assert_eq!(well_formed, [1, 3]);
    let since = AuditFilter { since: Some(future_by(0)), ..AuditFilter::default() };
    assert_eq!(sequences(&store.audit(&since, 10).await.unwrap().rows), [2]);
    assert_eq!(store.audit_heads().await.unwrap()[0].mac, [0]);
}

pub(super) async fn chains_are_paged_in_the_order_of_writer_and_sequence(database: &TestDatabase) {
    let store = database.store().await;
    let rows = [audit("b", 1), audit("a", 2), audit("B", 1), audit("a", 10), audit("a", 1)];
    store.append_audit(&rows).await.unwrap();
    let mut read: Vec<StoredAuditRow> = Vec::new();
    loop {
        let after = read.last().map(|stored| (stored.row.writer.as_str(), stored.row.writer_sequence));
        let page = store.audit_chain(after, 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        read.extend(page);
    }
    let places: Vec<(&str, i64)> =
        read.iter().map(|stored| (stored.row.writer.as_str(), stored.row.writer_sequence)).collect();
    assert_eq!(places, [("B", 1), ("a", 1), ("a", 2), ("a", 10), ("b", 1)]);
}

pub(super) async fn the_head_of_every_chain_is_found(database: &TestDatabase) {
    let store = database.store().await;
    store.append_audit(&[audit("b", 1), audit("a", 1), audit("B", 7), audit("a", 10), audit("a", 9)]).await.unwrap();
    let expected = [audit("B", 7), audit("a", 10), audit("b", 1)].map(|row| AuditHead {
        writer: row.writer,
        writer_sequence: row.writer_sequence,
        mac: row.mac.to_vec(),
    });
    assert_eq!(store.audit_heads().await.unwrap(), expected);
}

pub(super) async fn an_empty_audit_has_no_heads(database: &TestDatabase) {
    let store = database.store().await;
    assert_eq!(store.audit_heads().await.unwrap(), []);
    assert_eq!(store.audit_chain(None, 10).await.unwrap(), []);
    assert_eq!(audit_rows(&*store).await, []);
}
