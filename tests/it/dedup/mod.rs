//! The contract of the stores of what counts once: one suite that every store passes whole, and what only one of them can show.

mod bounds;
mod databases;
mod operations;
mod races;
mod store;
mod values;

use store::TestStore;

/// A test for each case. A macro, because a function cannot declare tests.
macro_rules! tests {
    ($store:ident: $($concern:ident::$claim:ident,)*) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $claim() {
                    let store = super::TestStore::$store().await;
                    super::$concern::$claim(&store).await;
                }
            )*
        }
    };
}

/// The suite on one store. A case that is missing here is dead code, which the lints refuse.
macro_rules! conformance {
    ($store:ident) => {
        tests! { $store:
            values::a_value_is_spent_once,
            values::equal_values_of_two_namespaces_are_two,
            values::a_value_that_has_expired_already_is_remembered_all_the_same,
            values::a_value_is_forgotten_a_minute_after_its_expiry_and_no_sooner,
            operations::the_outcome_is_found_again_byte_for_byte,
            operations::an_operation_that_is_held_is_in_flight_for_others,
            operations::another_body_is_a_conflict_whatever_has_become_of_the_first,
            operations::an_operation_whose_holder_died_begins_anew_after_its_lease,
            operations::a_renewed_lease_holds_on,
            operations::an_abandoned_operation_begins_anew_at_once,
            operations::abandoned_operations_leave_room_and_are_forgotten_within_ten_minutes,
            operations::whoever_has_lost_an_operation_changes_nothing,
            operations::an_operation_is_finished_once,
            operations::an_outcome_that_has_expired_is_forgotten,
            operations::an_operation_that_is_held_is_never_forgotten,
            operations::purging_forgets_what_has_expired_and_nothing_else,
            races::a_value_raced_by_fifty_is_spent_once,
            races::an_operation_raced_by_fifty_begins_once,
            races::an_operation_that_was_lost_is_raced_and_begins_once,
        }
    };
}

conformance!(memory);
conformance!(sqlite);
conformance!(postgres);
