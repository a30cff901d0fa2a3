//! What one server changes holds on the others at once: they are told, and need not look.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jiff::SignedDuration;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use sts_jose::{Algorithm, Entropy, SystemEntropy};
use sts_server::keys::{self, KeyPolicy};
use sts_server::storage::{Changed, RevocationKind, RevocationRow};
use sts_tests::world::{Node, World};
use tokio::task::JoinHandle;

use super::small::{BACK, FRONT, MIDDLE, about, by_secret, exchanged, model, user_token};

/// A server that follows looks by itself only after this: never, as far as a test goes.
const NEVER: Duration = Duration::from_secs(3600);
/// Within this, what is announced holds.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// Within this, a lost connection is there again and what was missed holds.
const HEALED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A server that changes things, and one that only listens.
struct Pair {
    world: World,
    here: Node,
    there: Node,
    following: JoinHandle<()>,
}

impl Pair {
    async fn start() -> Self {
        let world = World::postgres(&model()).await;
        let (here, there) = (world.another_node().await, world.another_node().await);
        let sts = Arc::clone(&there.sts);
        let following = tokio::spawn(async move { sts.follow(NEVER).await });
        Self { world, here, there, following }
    }

    /// A token of the first hop, which the other server takes to be active.
    async fn token(&self, user: &str) -> String {
        let user = user_token(&self.world, user, FRONT);
        let token = exchanged(&self.here, FRONT, &user, MIDDLE).await.token().to_owned();
        assert!(self.is_active_there(&token).await);
        token
    }

    async fn is_active_there(&self, token: &str) -> bool {
        let form = [by_secret(MIDDLE), about(token)].concat();
        self.there.post("/oauth2/introspect", &form, &HeaderMap::new()).await.json["active"] == Value::Bool(true)
    }

    async fn block(&self, user: &str) {
        let at = self.world.now();
        let row = RevocationRow {
            kind: RevocationKind::Subject,
            issuer: None,
            value: user.to_owned(),
            at,
            expires_at: at.checked_add(SignedDuration::from_hours(2)).unwrap(),
            version: 0,
            txn: None,
        };
        self.world.store.revoke(&row, &[]).await.unwrap();
    }

    async fn revoke_the_key(&self) {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let policy = KeyPolicy {
            store: &*self.world.store,
            master: &self.world.master,
            clock: &self.world.clock,
            entropy: &entropy,
            max_ttl: self.world.config.limits.max_ttl,
        };
        let kid = self.here.sts.snapshot().ring.active(Algorithm::Es256).unwrap().kid().to_owned();
        keys::revoke(&policy, &kid, &mut |_changes| Vec::new()).await.unwrap();
    }

    async fn witness(&self) -> PgConnection {
        PgConnection::connect(&self.world.config.database.url).await.unwrap()
    }

    async fn stop(self) {
        self.following.abort();
        assert!(self.following.await.unwrap_err().is_cancelled());
    }
}

/// Fails unless something comes true in time.
async fn soon(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(within, waiting).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

async fn listeners(connection: &mut PgConnection) -> Vec<i32> {
    sqlx::query_scalar(
        "SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'sts-server listen' AND query LIKE 'LISTEN%'",
    )
    .fetch_all(connection)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_told_what_another_has_changed() {
    let pair = Pair::start().await;
    let token = pair.token("alice").await;
    pair.block("alice").await;
    soon("a block", TOLD_WITHIN, async || !pair.is_active_there(&token).await).await;

    let token = pair.token("bob").await;
    pair.revoke_the_key().await;
    soon("the end of a key", TOLD_WITHIN, async || !pair.is_active_there(&token).await).await;

    let present = pair.world.store.state().await.unwrap().versions.registry;
    let changed = pair.world.store.change_entries(present, &[], &[]).await.unwrap();
    let is_read = async || Changed::Applied(pair.there.sts.snapshot().registry.version()) == changed;
    soon("a change of the registry", TOLD_WITHIN, is_read).await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_could_not_listen_for_a_while_misses_nothing() {
    let pair = Pair::start().await;
    let mut witness = pair.witness().await;
    soon("it listens", HEALED_WITHIN, async || listeners(&mut witness).await.len() == 1).await;
    let token = pair.token("alice").await;
    for pid in listeners(&mut witness).await {
        sqlx::query("SELECT pg_terminate_backend($1)").bind(pid).execute(&mut witness).await.unwrap();
    }
    soon("it listens no more", HEALED_WITHIN, async || listeners(&mut witness).await.is_empty()).await;
    pair.block("alice").await;
    soon("what was missed", HEALED_WITHIN, async || !pair.is_active_there(&token).await).await;

    let token = exchanged(&pair.here, FRONT, &user_token(&pair.world, "bob", FRONT), MIDDLE).await;
    let hop = exchanged(&pair.there, MIDDLE, token.token(), BACK).await;
    assert_eq!(hop.status, 200, "{}", hop.text());
    pair.block("bob").await;
    soon("what is announced again", TOLD_WITHIN, async || !pair.is_active_there(token.token()).await).await;
    pair.stop().await;
}
