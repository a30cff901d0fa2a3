//! Random user tokens, and random chains of exchanges that begin with them.
//!
//! A choice says where to look, not what is there, so that a journey fits every registry; [`super::travel`] resolves it.

use std::collections::BTreeSet;
use std::fmt;

use proptest::collection::vec;
use proptest::option::weighted as maybe;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sts_tests::model::Model;

use super::registries::{ROLES, SCOPES, TENANTS, model, subset};

/// The most exchanges of a chain.
const MAX_HOPS: usize = 10;

/// A registry and what happens in it. Debug is for the files of seeds, Display for whoever reads a failure.
#[derive(Clone)]
pub(super) struct Scenario {
    pub(super) model: Model,
    pub(super) journeys: Vec<Journey>,
}

/// A user's request on its way from agent to agent.
#[derive(Debug, Clone)]
pub(super) struct Journey {
    /// The agent that the user calls.
    pub(super) first: Index,
    pub(super) token: UserToken,
    pub(super) hops: Vec<Hop>,
}

/// The token that an outside issuer gave.
#[derive(Debug, Clone)]
pub(super) struct UserToken {
    pub(super) issuer: Index,
    pub(super) user: u8,
    pub(super) address: Address,
    pub(super) tenant: TenantClaim,
    pub(super) scope: BTreeSet<String>,
    pub(super) scope_is_array: bool,
    pub(super) roles: BTreeSet<String>,
    /// Until `exp`, in quarters of a second.
    pub(super) lifetime_quarters: i64,
    /// Since `iat`, in seconds; absent without `iat`.
    pub(super) age: Option<i64>,
    pub(super) has_jti: bool,
    /// The actors that the issuer wrote, and whether each has an `iss`.
    pub(super) act: Vec<bool>,
    /// How many bytes the innermost of them has besides.
    pub(super) ballast_bytes: usize,
    pub(super) may_act: Option<MayAct>,
    pub(super) typ: Option<&'static str>,
    pub(super) fault: Option<TokenFault>,
}

/// Whom a token is addressed to.
#[derive(Debug, Clone)]
pub(super) enum Address {
    /// The first agent, by one of the names that it takes.
    One(Index),
    /// The same, among others.
    Among(Index),
    Elsewhere,
    Absent,
}

/// What the tenant claim says, where the issuer has one.
#[derive(Debug, Clone)]
pub(super) enum TenantClaim {
    Text(&'static str),
    ArrayOfOne(&'static str),
    ArrayOfTwo,
    Number,
    Malformed,
    Absent,
}

/// Whom `may_act` names.
#[derive(Debug, Clone)]
pub(super) enum MayAct {
    First,
    FirstOfUs,
    FirstOfAnother,
    Other,
    Malformed,
}

/// What is wrong with a token besides.
#[derive(Debug, Clone, Copy)]
pub(super) enum TokenFault {
    Garbage,
    Stranger,
    UnknownIssuer,
    NotYetValid,
    Expired,
    NoExp,
    Bound,
    SubIsAnAgent,
    SubEmpty,
    SubControl,
    ScopeMalformed,
    ActMalformed,
    ActClaimsUs,
    JtiEmpty,
    OtherKind,
}

/// One exchange.
#[derive(Debug, Clone)]
pub(super) struct Hop {
    /// How long before it, in milliseconds.
    pub(super) wait_ms: u64,
    /// Another agent than the one that holds the token.
    pub(super) intruder: Option<Index>,
    pub(super) target: Target,
    pub(super) naming: Naming,
    pub(super) scope: AskedScope,
    pub(super) tenant_header: TenantHeader,
    pub(super) requested_jwt: bool,
    /// A workload agent sends its token as `actor_token`, one with a secret sends it in the body.
    pub(super) other_method: bool,
    pub(super) proves: Proves,
    /// The agent shows its client certificate, also where that does not authenticate it.
    pub(super) certifies: bool,
    pub(super) fault: Option<RequestFault>,
}

/// Whether a request has a DPoP proof.
#[derive(Debug, Clone, Copy)]
pub(super) enum Proves {
    Always,
    /// Where the token that the agent holds is bound.
    IfBound,
    Never,
}

#[derive(Debug, Clone)]
pub(super) enum Target {
    /// One that a delegation of the agent names.
    Delegated(Index),
    Any(Index),
}

#[derive(Debug, Clone)]
pub(super) enum Naming {
    Audience(Index),
    Resource,
    Both(Index),
    Default,
}

#[derive(Debug, Clone)]
pub(super) enum AskedScope {
    All,
    /// Those of the delegation and the token that are in this set.
    Within(BTreeSet<String>),
    Exactly(BTreeSet<String>),
}

#[derive(Debug, Clone)]
pub(super) enum TenantHeader {
    Absent,
    OfToken,
    Named(&'static str),
}

/// What is wrong, or unusual, with a request besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestFault {
    NoGrant,
    OtherGrant,
    ClientCredentials,
    ForeignParameter,
    NoSubjectToken,
    NoSubjectTokenType,
    UnknownSubjectTokenType,
    DeclaredIdToken,
    GarbageSubjectToken,
    UnpairedActorToken,
    OwnActorToken,
    ActorTokenOfAnother,
    GarbageActorToken,
    IdTokenRequested,
    Dpop,
    AuthorizationDetails,
    TenantHeaderMalformed,
    TenantHeaderTwice,
    UnknownTarget,
    SeveralTargets,
    MalformedResource,
    MalformedScope,
    WrongCredential,
    NoCredential,
    TwoCredentials,
    ClientIdOfAnother,
    Repeated,
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (agents, journeys) = (self.model.agents.len(), self.journeys.len());
        f.debug_struct("Scenario").field("agents", &agents).field("journeys", &journeys).finish_non_exhaustive()
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Model { chain_depth, max_ttl, .. } = self.model;
        write!(f, "chain_depth = {chain_depth}, max_ttl = {max_ttl}s\n{}", self.model.to_toml())
    }
}

/// A registry and up to this many journeys, at least half of them.
pub(super) fn scenario(journeys: usize) -> impl Strategy<Value = Scenario> {
    (model(), vec(journey(), journeys / 2..=journeys)).prop_map(|(model, journeys)| Scenario { model, journeys })
}

fn journey() -> impl Strategy<Value = Journey> {
    (any::<Index>(), user_token(), vec(hop(), 1..=MAX_HOPS)).prop_map(|(first, token, hops)| Journey {
        first,
        token,
        hops,
    })
}

fn user_token() -> impl Strategy<Value = UserToken> {
    let address = prop_oneof![
        20 => any::<Index>().prop_map(Address::One),
        10 => any::<Index>().prop_map(Address::Among),
        1 => Just(Address::Elsewhere),
        1 => Just(Address::Absent),
    ];
    let tenant = prop_oneof![
        40 => select(TENANTS.to_vec()).prop_map(TenantClaim::Text),
        10 => select(TENANTS.to_vec()).prop_map(TenantClaim::ArrayOfOne),
        1 => Just(TenantClaim::ArrayOfTwo),
        1 => Just(TenantClaim::Number),
        1 => Just(TenantClaim::Malformed),
        1 => Just(TenantClaim::Absent),
    ];
    let lifetime = prop_oneof![6 => 4_000..14_400_i64, 2 => 100..4_000_i64, 1 => 1..40_i64];
    let age = prop_oneof![20 => 0..200_i64, 1 => -40..0_i64, 1 => 200..90_000_i64];
    let may_act = prop_oneof![
        4 => Just(MayAct::First),
        4 => Just(MayAct::FirstOfUs),
        1 => Just(MayAct::FirstOfAnother),
        1 => Just(MayAct::Other),
        1 => Just(MayAct::Malformed),
    ];
    let typ = select(vec![None, None, Some("JWT"), Some("at+jwt"), Some("application/at+JWT")]);
    let times = (lifetime, maybe(0.9, age), prop::bool::weighted(0.8));
    let ballast = prop_oneof![6 => Just(0_usize), 1 => 4_800..5_800_usize];
    let chain = (prop_oneof![5 => Just(Vec::new()), 1 => vec(any::<bool>(), 1..4)], maybe(0.15, may_act), ballast);
    let who = (any::<Index>(), 0..3_u8, address, tenant);
    let what = (subset(&SCOPES, 0.75), any::<bool>(), subset(&ROLES, 0.6));
    (who, what, times, chain, (typ, maybe(0.08, token_fault()))).prop_map(|(who, what, times, chain, rest)| UserToken {
        issuer: who.0,
        user: who.1,
        address: who.2,
        tenant: who.3,
        scope: what.0,
        scope_is_array: what.1,
        roles: what.2,
        lifetime_quarters: times.0,
        age: times.1,
        has_jti: times.2,
        act: chain.0,
        ballast_bytes: chain.2,
        may_act: chain.1,
        typ: rest.0,
        fault: rest.1,
    })
}

fn hop() -> impl Strategy<Value = Hop> {
    let target = prop_oneof![
        12 => any::<Index>().prop_map(Target::Delegated),
        1 => any::<Index>().prop_map(Target::Any),
    ];
    let naming = prop_oneof![
        10 => any::<Index>().prop_map(Naming::Audience),
        3 => Just(Naming::Resource),
        2 => any::<Index>().prop_map(Naming::Both),
        1 => Just(Naming::Default),
    ];
    let scope = prop_oneof![
        10 => Just(AskedScope::All),
        4 => subset(&SCOPES, 0.8).prop_map(AskedScope::Within),
        1 => subset(&SCOPES, 0.3).prop_map(AskedScope::Exactly),
    ];
    let header = prop_oneof![
        12 => Just(TenantHeader::Absent),
        4 => Just(TenantHeader::OfToken),
        1 => select(TENANTS.to_vec()).prop_map(TenantHeader::Named),
    ];
    let wait = prop_oneof![12 => 0..3_000_u64, 3 => 0..30_000_u64, 1 => 0..400_000_u64];
    let proves = prop_oneof![4 => Just(Proves::Always), 5 => Just(Proves::IfBound), 1 => Just(Proves::Never)];
    let how =
        ((any::<bool>(), prop::bool::weighted(0.3)), proves, prop::bool::weighted(0.6), maybe(0.12, request_fault()));
    (wait, maybe(0.04, any::<Index>()), target, naming, scope, header, how).prop_map(
        |(
            wait_ms,
            intruder,
            target,
            naming,
            scope,
            tenant_header,
            ((requested_jwt, other_method), proves, certifies, fault),
        )| Hop {
            wait_ms,
            intruder,
            target,
            naming,
            scope,
            tenant_header,
            requested_jwt,
            other_method,
            proves,
            certifies,
            fault,
        },
    )
}

fn token_fault() -> impl Strategy<Value = TokenFault> {
    use TokenFault::{
        ActClaimsUs, ActMalformed, Bound, Expired, Garbage, JtiEmpty, NoExp, NotYetValid, OtherKind, ScopeMalformed,
        Stranger, SubControl, SubEmpty, SubIsAnAgent, UnknownIssuer,
    };
    select(vec![
        Garbage,
        Stranger,
        UnknownIssuer,
        NotYetValid,
        Expired,
        NoExp,
        Bound,
        SubIsAnAgent,
        SubEmpty,
        SubControl,
        ScopeMalformed,
        ActMalformed,
        ActClaimsUs,
        JtiEmpty,
        OtherKind,
    ])
}

fn request_fault() -> impl Strategy<Value = RequestFault> {
    use RequestFault::{
        ActorTokenOfAnother, AuthorizationDetails, ClientCredentials, ClientIdOfAnother, DeclaredIdToken, Dpop,
        ForeignParameter, GarbageActorToken, GarbageSubjectToken, IdTokenRequested, MalformedResource, MalformedScope,
        NoCredential, NoGrant, NoSubjectToken, NoSubjectTokenType, OtherGrant, OwnActorToken, Repeated, SeveralTargets,
        TenantHeaderMalformed, TenantHeaderTwice, TwoCredentials, UnknownSubjectTokenType, UnknownTarget,
        UnpairedActorToken, WrongCredential,
    };
    select(vec![
        NoGrant,
        OtherGrant,
        OtherGrant,
        ClientCredentials,
        ClientCredentials,
        ClientCredentials,
        ClientCredentials,
        ClientCredentials,
        ClientCredentials,
        ForeignParameter,
        NoSubjectToken,
        NoSubjectTokenType,
        UnknownSubjectTokenType,
        DeclaredIdToken,
        GarbageSubjectToken,
        UnpairedActorToken,
        OwnActorToken,
        ActorTokenOfAnother,
        GarbageActorToken,
        IdTokenRequested,
        Dpop,
        AuthorizationDetails,
        TenantHeaderMalformed,
        TenantHeaderTwice,
        UnknownTarget,
        SeveralTargets,
        MalformedResource,
        MalformedScope,
        WrongCredential,
        NoCredential,
        TwoCredentials,
        ClientIdOfAnother,
        Repeated,
    ])
}
