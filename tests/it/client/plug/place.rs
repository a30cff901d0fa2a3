//! A place that an agent calls: a real HTTP server that remembers what it was sent.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use tokio::net::TcpListener;
use tokio::sync::watch;
use url::Url;

type Seen = watch::Sender<Vec<Parts>>;

/// A server that lives as long as the runtime.
#[derive(Clone)]
pub(super) struct Place {
    base: Url,
    seen: Seen,
}

impl Place {
    /// Answers everything with 200.
    pub(super) async fn start() -> Self {
        Self::serve(Router::new().fallback(async || "{}")).await
    }

    /// Answers everything with a redirect to `location`.
    pub(super) async fn leading_to(location: &str) -> Self {
        let location = location.to_owned();
        let answer = async move || (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]);
        Self::serve(Router::new().fallback(answer)).await
    }

    /// Answers as the router does.
    pub(super) async fn serve(router: Router) -> Self {
        Self::serve_at(|_base| router).await
    }

    /// Answers as the router does that is made of its URL.
    pub(super) async fn serve_at(router: impl FnOnce(&Url) -> Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let router = router(&base);
        let seen = Seen::default();
        let router = router.layer(from_fn_with_state(seen.clone(), remember));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, seen }
    }

    pub(super) fn url(&self, path: &str) -> Url {
        self.base.join(path).unwrap()
    }

    /// The requests so far.
    pub(super) fn requests(&self) -> Vec<Parts> {
        self.seen.borrow().clone()
    }

    /// The headers of the only request so far.
    #[track_caller]
    pub(super) fn only(&self) -> HeaderMap {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].headers.clone()
    }

    /// Waits for a request of that method.
    pub(super) async fn wait_for(&self, method: Method) {
        let has_come = |seen: &Vec<Parts>| seen.iter().any(|request| request.method == method);
        self.seen.subscribe().wait_for(has_come).await.unwrap();
    }

    /// Whether nothing has come.
    pub(super) fn is_untouched(&self) -> bool {
        self.requests().is_empty()
    }
}

async fn remember(State(seen): State<Seen>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    seen.send_modify(|seen| seen.push(parts.clone()));
    next.run(Request::from_parts(parts, body)).await
}
