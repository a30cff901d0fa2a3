//! The revocations as requests read them: immutable, replaced as a whole.

use jiff::{SignedDuration, Timestamp};
use rpds::{HashTrieMapSync, HashTrieSetSync};
use sts_protocol::{Act, Actor};

use crate::registry::class_of;
use crate::storage::{RevocationKind, RevocationRow, TokenReference, Version};

/// The maximum time by which an outside issuer's clock may be ahead of the database's. Its tokens
/// are accepted that long before their `iat`.
const OUTSIDE_SKEW: SignedDuration = SignedDuration::from_secs(30);
/// The maximum time by which the clock of a ready server may be ahead of the database's.
const OWN_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// The revocations in force. A newer state shares unchanged parts with the previous state.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    version: Version,
    /// Tokens are keyed by `jti`; all other blocks are keyed by name.
    tokens: Blocks,
    tokens_alone: Blocks,
    /// The transactions of this service's revoked tokens, and the issuers of revoked outside
    /// tokens.
    token_txns: HashTrieSetSync<String>,
    token_issuers: HashTrieSetSync<String>,
    transactions: Blocks,
    subjects: Blocks,
    agents: Blocks,
    tenants: Blocks,
    /// The number of rows added since all rows were read.
    added: usize,
}

/// Blocks by name. Each block has the namespace of the name (empty if it needs none) and a time.
type Blocks = HashTrieMapSync<String, Vec<Block>>;

#[derive(Debug, Clone)]
struct Block {
    issuer: String,
    at: Timestamp,
}

/// The properties of a credential that a revocation can match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The token itself, which may be revoked.
    pub token: TokenReference,
    /// The ancestors of the token; `None` if they were not looked up. See
    /// [`Revocations::asks_for_lineage`].
    pub lineage: Option<Vec<TokenReference>>,
    /// The transaction; set for every token of this service and for no other.
    pub txn: Option<String>,
    /// The issuer that first named the user, and the name there; `None` for a service account.
    pub principal: Option<(String, String)>,
    /// The `sub`: the name of the user in minted tokens, or the id of a service account's agent.
    pub sub: String,
    /// The agents of this service that act or acted: the agents of the chain and the presenter of
    /// the token.
    pub agents: Vec<String>,
    /// The tenant of the token, or the tenants that a service account may forward.
    pub tenants: Vec<String>,
    /// The time of issue. A token without a time of issue counts as older than any revocation.
    pub issued_at: Option<Timestamp>,
}

impl Revocations {
    /// Builds the state from all rows.
    #[must_use]
    pub fn from_rows<'row>(version: Version, rows: impl IntoIterator<Item = &'row RevocationRow>) -> Self {
        let mut revocations = Self { version, ..Self::default() };
        rows.into_iter().for_each(|row| revocations.add(row));
        Self { added: 0, ..revocations }
    }

    /// Returns this state with the rows that were added up to `version`.
    #[must_use]
    pub fn with(&self, version: Version, rows: &[RevocationRow]) -> Self {
        let mut revocations = Self { version, ..self.clone() };
        rows.iter().for_each(|row| revocations.add(row));
        revocations
    }

    fn add(&mut self, row: &RevocationRow) {
        self.added = self.added.saturating_add(1);
        let issuer = row.issuer.clone().unwrap_or_default();
        let name = row.value.clone();
        if row.kind == RevocationKind::Token {
            match &row.txn {
                Some(txn) => self.token_txns.insert_mut(txn.clone()),
                None => self.token_issuers.insert_mut(issuer.clone()),
            }
        }
        let blocks = match row.kind {
            RevocationKind::Token => &mut self.tokens,
            RevocationKind::TokenAlone => &mut self.tokens_alone,
            RevocationKind::Transaction => &mut self.transactions,
            RevocationKind::Subject => &mut self.subjects,
            RevocationKind::Agent => &mut self.agents,
            RevocationKind::Tenant => &mut self.tenants,
        };
        let mut of_name = blocks.get(&name).cloned().unwrap_or_default();
        of_name.retain(|block| block.issuer != issuer);
        of_name.push(Block { issuer, at: row.at });
        blocks.insert_mut(name, of_name);
    }

    /// Returns the version of the state.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the number of rows added since all rows were read. Some of the earlier rows may have
    /// expired.
    #[must_use]
    pub fn added(&self) -> usize {
        self.added
    }

    /// Returns the number of revocations.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all().iter().flat_map(|blocks| blocks.values()).map(Vec::len).sum()
    }

    /// Returns true if there are no revocations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all().iter().all(|blocks| blocks.is_empty())
    }

    fn all(&self) -> [&Blocks; 6] {
        let Self { tokens, tokens_alone, transactions, subjects, agents, tenants, .. } = self;
        [tokens, tokens_alone, transactions, subjects, agents, tenants]
    }

    /// Returns the kind of the revocation that covers a credential, if any.
    ///
    /// A block of a user, an agent or a tenant covers credentials issued at or before it. Because
    /// clocks differ, it also covers credentials issued up to 30 s after it, or 60 s for this
    /// service's own. A block of a token or a transaction applies regardless of times.
    #[must_use]
    pub fn refuse(&self, standing: &Standing) -> Option<RevocationKind> {
        if self.is_empty() {
            return None;
        }
        self.token(standing)
            .or_else(|| self.transaction(standing))
            .or_else(|| self.subject(standing))
            .or_else(|| self.agent(standing).then_some(RevocationKind::Agent))
            .or_else(|| named(&self.tenants, &standing.tenants, standing).then_some(RevocationKind::Tenant))
    }

    /// Returns true if a token may descend from a revoked token, so that its lineage must be looked
    /// up.
    ///
    /// That is the case if it belongs to the transaction of a revoked token of this service. All
    /// descendants of such a token belong to the same transaction. It is also the case if its user
    /// belongs to the issuer of a revoked outside token. All descendants of such a token belong to
    /// the same user.
    #[must_use]
    pub fn asks_for_lineage(&self, standing: &Standing) -> bool {
        let Some(txn) = standing.txn.as_ref().filter(|_| standing.lineage.is_none()) else { return false };
        let issuer = standing.principal.as_ref().map(|(issuer, _)| issuer);
        self.token_txns.contains(txn) || issuer.is_some_and(|issuer| self.token_issuers.contains(issuer))
    }

    fn token(&self, standing: &Standing) -> Option<RevocationKind> {
        let is_among = |blocks: &Blocks, token: &TokenReference| {
            blocks.get(&token.jti).into_iter().flatten().any(|block| block.issuer == token.iss)
        };
        let revoked = is_among(&self.tokens, &standing.token)
            || is_among(&self.tokens_alone, &standing.token)
            || standing.lineage.iter().flatten().any(|ancestor| is_among(&self.tokens, ancestor));
        revoked.then_some(RevocationKind::Token)
    }

    fn transaction(&self, standing: &Standing) -> Option<RevocationKind> {
        self.transactions.get(standing.txn.as_ref()?).map(|_| RevocationKind::Transaction)
    }

    /// Returns true if an agent of the credential is revoked, or the class of which it is an
    /// instance.
    fn agent(&self, standing: &Standing) -> bool {
        if self.agents.is_empty() {
            return false;
        }
        let classes: Vec<String> = standing.agents.iter().filter_map(|id| class_of(id)).collect();
        named(&self.agents, &standing.agents, standing) || named(&self.agents, &classes, standing)
    }

    fn subject(&self, standing: &Standing) -> Option<RevocationKind> {
        let (issuer, sub) = standing.principal.as_ref()?;
        let names = [(issuer.as_str(), sub), ("", sub), ("", &standing.sub)];
        let is_blocked = |(issuer, sub): (&str, &String)| {
            let mut of_name = self.subjects.get(sub).into_iter().flatten();
            of_name.any(|block| block.issuer == issuer && covers(block, standing))
        };
        names.into_iter().any(is_blocked).then_some(RevocationKind::Subject)
    }
}

fn named(blocks: &Blocks, names: &[String], standing: &Standing) -> bool {
    !blocks.is_empty()
        && names.iter().filter_map(|name| blocks.get(name)).flatten().any(|block| covers(block, standing))
}

fn covers(block: &Block, standing: &Standing) -> bool {
    let skew = if standing.txn.is_some() { OWN_SKEW } else { OUTSIDE_SKEW };
    let until = block.at.checked_add(skew).unwrap_or(Timestamp::MAX);
    standing.issued_at.is_none_or(|issued_at| issued_at <= until)
}

impl Standing {
    /// Returns the agents of a chain whose ids belong to this service.
    #[must_use]
    pub fn agents_of(act: Option<&Act>, our_issuer: &str) -> Vec<String> {
        let ours = |actor: &Actor<'_>| actor.iss == Some(our_issuer);
        act.into_iter().flat_map(Act::actors).filter(ours).map(|actor| actor.sub.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn revocations(kind: RevocationKind, issuer: Option<&str>, value: &str) -> Revocations {
        let row = RevocationRow {
            kind,
            issuer: issuer.map(str::to_owned),
            value: value.to_owned(),
            at: at(100),
            expires_at: at(1000),
            version: 1,
            txn: None,
        };
        Revocations::from_rows(Version { counter: 1, generation: 7 }, &[row])
    }

    fn standing(issued_at: Option<i64>) -> Standing {
        Standing {
            token: TokenReference { iss: "https://idp".to_owned(), jti: "t".to_owned() },
            lineage: Some(vec![TokenReference { iss: "https://idp".to_owned(), jti: "parent".to_owned() }]),
            txn: Some("x".to_owned()),
            principal: Some(("https://idp".to_owned(), "alice".to_owned())),
            sub: "idp|alice".to_owned(),
            agents: vec!["a".to_owned(), "b".to_owned()],
            tenants: vec!["acme".to_owned()],
            issued_at: issued_at.map(at),
        }
    }

    #[test]
    fn a_block_covers_what_was_issued_at_or_before_it_and_as_long_after_it_as_clocks_may_differ() {
        use RevocationKind::{Agent, Subject, Tenant};
        let outside = |issued_at| Standing { txn: None, ..standing(issued_at) };
        for (kind, issuer, value) in [
            (Subject, None, "alice"),
            (Subject, None, "idp|alice"),
            (Subject, Some("https://idp"), "alice"),
            (Agent, None, "b"),
            (Tenant, None, "acme"),
        ] {
            let revocations = revocations(kind, issuer, value);
            for (issued_at, ours, outsides) in [
                (Some(99), true, true),
                (Some(130), true, true),
                (Some(131), true, false),
                (Some(160), true, false),
                (Some(161), false, false),
                (None, true, true),
            ] {
                let refused = [revocations.refuse(&standing(issued_at)), revocations.refuse(&outside(issued_at))];
                let expected = [ours.then_some(kind), outsides.then_some(kind)];
                assert_eq!(refused, expected, "{kind:?} {issued_at:?}");
            }
        }
    }

    #[test]
    fn a_token_a_transaction_and_a_descendant_are_refused_regardless_of_times() {
        use RevocationKind::{Token, Transaction};
        for (kind, issuer, value) in
            [(Token, Some("https://idp"), "t"), (Token, Some("https://idp"), "parent"), (Transaction, None, "x")]
        {
            for issued_at in [Some(99), Some(100_000), None] {
                assert_eq!(revocations(kind, issuer, value).refuse(&standing(issued_at)), Some(kind), "{value}");
            }
        }
    }

    #[test]
    fn the_lineage_is_asked_for_only_of_what_may_descend_from_a_revoked_token() {
        use RevocationKind::{Agent, Token};
        let row = |kind, txn: Option<&str>| RevocationRow {
            kind,
            issuer: Some("https://idp".to_owned()),
            value: "v".to_owned(),
            at: at(1),
            expires_at: at(1000),
            version: 1,
            txn: txn.map(str::to_owned),
        };
        let unknown = Standing { lineage: None, ..standing(None) };
        let of_others = Standing { principal: Some(("https://other".to_owned(), "x".to_owned())), ..unknown.clone() };
        for (row, asks) in [
            (row(Token, Some("x")), [true, true, false]),
            (row(Token, Some("y")), [false, false, false]),
            (row(Token, None), [true, false, false]),
            (row(Agent, None), [false, false, false]),
        ] {
            let revocations = Revocations::from_rows(Version::default(), [&row]);
            let found = [&unknown, &of_others, &standing(None)].map(|standing| revocations.asks_for_lineage(standing));
            assert_eq!(found, asks, "{row:?}");
        }
    }

    #[test]
    fn a_state_with_rows_added_is_the_state_of_all_rows() {
        let row = |value: &str, second| RevocationRow {
            kind: RevocationKind::Agent,
            issuer: None,
            value: value.to_owned(),
            at: at(second),
            expires_at: at(1000),
            version: 1,
            txn: None,
        };
        let first = Revocations::from_rows(Version::default(), &[row("a", 100), row("c", 100)]);
        let next = Version { counter: 2, generation: 3 };
        let added = first.with(next, &[row("b", 50), row("a", 200)]);
        assert_eq!((added.version(), added.count(), added.added()), (next, 3, 2));
        for (issued_at, refused) in [(Some(100 + 61), true), (Some(200 + 61), false)] {
            assert_eq!(added.refuse(&standing(issued_at)).is_some(), refused, "{issued_at:?}");
        }
        assert_eq!((first.count(), first.refuse(&standing(Some(161)))), (2, None), "the one before is as it was");
    }

    #[test]
    fn others_are_not_covered() {
        use RevocationKind::{Agent, Subject, Tenant, Token, Transaction};
        for (kind, issuer, value) in [
            (Transaction, None, "y"),
            (Subject, Some("https://other"), "alice"),
            (Subject, Some("https://idp"), "idp|alice"),
            (Subject, None, "bob"),
            (Agent, None, "c"),
            (Tenant, None, "ACME"),
            (Token, Some("https://other"), "t"),
        ] {
            assert_eq!(revocations(kind, issuer, value).refuse(&standing(Some(1))), None, "{kind:?} {value}");
        }
    }
}
