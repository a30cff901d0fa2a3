//! The values of flags that have a few names, which the help lists.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use sts_jose::Algorithm;

use crate::config::Role;
use crate::keys::SIGNING_ALGORITHMS;

pub(super) fn signing_algorithm() -> impl TypedValueParser<Value = Algorithm> {
    let names = PossibleValuesParser::new(SIGNING_ALGORITHMS.map(Algorithm::as_str));
    names.try_map(|name| {
        let named = |algorithm: &Algorithm| algorithm.as_str().eq_ignore_ascii_case(&name);
        SIGNING_ALGORITHMS.into_iter().find(named).ok_or("not a signature algorithm of this service")
    })
}

pub(super) fn role() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(["reader", "operator", "admin"]).try_map(|name| name.parse::<Role>())
}
