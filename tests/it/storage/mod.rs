//! The contract of storage: one suite that every database passes whole, and what only one of them can show.

mod approval;
mod audit;
mod database;
mod forwarder;
mod hosts;
mod keys;
mod migrate;
mod only_postgres;
mod outage;
mod pooler;
mod purge;
mod races;
mod record;
mod registry;
mod retention;
mod revocation;
mod rows;
mod standbys;

use database::TestDatabase;

/// A test for each case. A macro, because a function cannot declare tests.
macro_rules! tests {
    ($database:ident: $($concern:ident::$claim:ident,)*) => {
        mod $database {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $claim() {
                    let database = super::TestDatabase::$database().await;
                    super::$concern::$claim(&database).await;
                }
            )*
        }
    };
}

/// The suite on one database. A case that is missing here is dead code, which the lints refuse.
macro_rules! conformance {
    ($database:ident) => {
        tests! { $database:
            migrate::migrating_again_changes_nothing,
            migrate::eight_servers_migrate_an_empty_database_at_once,
            migrate::a_schema_that_is_newer_is_used_unless_it_excludes_this_version,
            migrate::a_counter_without_a_code_is_sealed_only_by_the_migration_that_adds_it,
            migrate::a_schema_that_is_older_is_refused_where_it_must_not_be_migrated,
            migrate::a_database_without_schema_is_broken_not_out_of_reach,
            registry::a_new_database_counts_from_zero,
            registry::the_database_tells_its_time,
            registry::entries_are_read_back_in_order,
            registry::an_entry_put_again_is_replaced_whole,
            registry::deleting_an_entry_leaves_the_others,
            registry::of_several_changes_of_an_entry_the_last_one_counts,
            registry::a_stale_change_of_entries_writes_nothing,
            registry::of_two_servers_that_change_entries_one_succeeds,
            registry::entries_and_their_counter_are_one_snapshot,
            keys::keys_are_read_back,
            keys::a_key_moves_through_its_states,
            keys::a_key_deleted_and_put_in_one_change_is_there,
            keys::former_audit_keys_are_read_back_and_replaced,
            keys::a_stale_change_of_keys_writes_nothing,
            keys::of_two_servers_that_change_keys_one_succeeds,
            revocation::a_revocation_bears_the_raised_counter,
            revocation::a_revocation_that_reaches_no_further_changes_no_row,
            revocation::a_revocation_that_reaches_further_replaces_the_row,
            revocation::the_later_of_each_time_is_kept,
            revocation::revocations_of_different_issuers_stand_beside_each_other,
            revocation::a_block_reaches_the_moment_of_its_act,
            revocation::every_kind_is_read_back,
            revocation::expired_revocations_are_not_read,
            revocation::revoking_a_token_adds_one_row_however_many_descend_from_it,
            revocation::what_was_added_since_is_read_alone_until_something_is_lifted,
            revocation::revoking_a_transaction_reaches_the_outside_tokens_that_began_it,
            revocation::lifting_removes_exactly_one_revocation,
            revocation::lifting_nothing_writes_nothing,
            record::a_batch_is_stored_whole,
            record::an_empty_batch_is_recorded,
            record::of_equal_values_in_a_batch_the_first_is_spent,
            record::a_value_is_spent_once,
            record::what_was_decided_before_a_value_was_found_spent_is_not_written,
            record::equal_values_of_two_namespaces_are_two,
            record::an_expired_value_counts_as_spent_until_it_is_purged,
            record::only_what_differs_from_the_known_is_fresh,
            record::the_decision_is_made_once,
            record::a_batch_that_was_decided_in_ignorance_is_decided_again,
            record::a_batch_that_is_decided_again_leaves_no_gap_in_the_audit_chain,
            record::a_repeated_jti_breaks_the_batch_and_spends_nothing,
            record::a_repeated_audit_sequence_breaks_the_batch,
            record::two_thousand_decisions_are_one_batch,
            record::the_longest_texts_are_stored_and_found,
            record::a_batch_given_up_at_any_point_is_whole_or_absent,
            record::a_batch_without_values_given_up_at_any_point_is_whole_or_absent,
            races::a_value_raced_over_two_servers_is_spent_once,
            races::batches_that_share_values_in_any_order_all_end,
            races::no_token_outlives_the_revocation_of_its_parent,
            races::revoking_and_lifting_at_once_all_end,
            races::whoever_follows_the_audit_sees_every_row,
            audit::rows_are_read_in_the_order_of_their_ids,
            audit::each_filter_selects_its_rows,
            audit::filters_add_up,
            audit::reading_on_from_the_last_id_misses_nothing,
            audit::a_single_wrong_time_hides_no_other_row,
            audit::a_search_by_time_finds_events_that_were_committed_out_of_order,
            audit::a_summarized_log_answers_as_one_without_summaries,
            audit::an_id_that_is_given_out_again_is_not_passed_over,
            audit::uses_are_counted_once_and_the_last_one_stays,
            audit::after_an_upgrade_new_segments_are_summarized_before_old_uses_are_counted,
            audit::a_page_is_bounded_by_the_bytes_of_its_rows,
            audit::a_malformed_row_hides_no_other,
            audit::chains_are_paged_in_the_order_of_writer_and_sequence,
            audit::the_head_of_every_chain_is_found,
            audit::an_empty_audit_has_no_heads,
            retention::what_remains_after_a_cut_verifies,
            retention::servers_that_shorten_at_once_find_no_fault,
            retention::a_follower_sees_the_event_after_a_log_was_shortened_whole,
            retention::a_row_removed_beyond_the_cut_is_missing,
            retention::a_forged_checkpoint_hides_nothing,
            retention::an_earlier_checkpoint_does_not_replace_a_later_one,
            retention::checkpoints_are_read_by_their_writers_or_in_pages,
            retention::a_log_of_thousands_of_chains_is_shortened_and_verifies,
            retention::an_archive_verifies_and_an_edited_one_does_not,
            retention::an_archive_has_the_events_up_to_the_first_recent_one_in_the_order_of_the_log,
            retention::an_archive_of_all_has_the_events_after_one_of_a_clock_that_is_ahead,
            retention::an_edited_time_keeps_no_row_unnoticed,
            approval::approvals_that_changed_are_read_alone,
            approval::purged_approvals_leave_those_that_are_held,
            approval::changes_past_the_servers_are_not_followed,
            approval::expired_approvals_are_closed_each_once_with_its_event,
            approval::a_revocation_ends_every_open_approval_that_it_covers,
            approval::approvals_that_wait_are_bounded_of_a_user_and_of_all,
            approval::approvals_that_are_open_are_bounded_of_a_user_and_those_granted_of_all,
            approval::altered_rows_do_not_stop_the_closing_of_others,
            approval::altered_rows_do_not_stop_the_deletion_of_others,
            approval::of_very_many_closed_approvals_the_latest_are_kept,
            purge::what_has_expired_goes_and_the_rest_stays,
            purge::more_than_one_portion_is_purged,
            purge::altered_revocations_do_not_stop_the_deletion_of_others,
        }
    };
}

conformance!(sqlite);
conformance!(postgres);
