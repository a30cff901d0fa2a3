//! `POST /v1/forget`: a target has refused the token of a call.

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Api;
use super::answer::{self, Failure};
use super::asked::{self, WithoutUser};
use crate::header_pairs::{self, HeaderPairs};
use crate::traces;

/// A call whose token the target refused. Exactly one of `inbound` and `without_user` is needed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ForgetRequest {
    /// The URL of the call.
    url: String,
    /// As in the question for the headers of the call.
    #[schema(value_type = Option<Vec<Vec<String>>>)]
    inbound: Option<HeaderPairs>,
    /// As in the question for the headers of the call.
    without_user: Option<WithoutUser>,
    /// As in the question for the headers of the call: each set of details has a token of its own.
    #[schema(value_type = Option<Vec<Object>>)]
    authorization_details: Option<Value>,
    /// The headers with which the call was sent. Needed with `answer`.
    #[serde(default)]
    #[schema(value_type = Vec<Vec<String>>)]
    headers: HeaderPairs,
    /// The answer of the target. Without it, the token is dropped in any case.
    answer: Option<TargetAnswer>,
}

/// The answer of a target.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TargetAnswer {
    /// The status.
    status: u16,
    /// The headers, each as `[name, value]`.
    #[schema(value_type = Vec<Vec<String>>)]
    headers: HeaderPairs,
}

/// The advice on a refused call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Forgotten {
    /// True if the call may be sent once more, with new headers.
    repeat: bool,
}

/// Drops the cached token of a call that its target refused, so that the next call gets another.
/// Keeps a token that the target did not refuse.
#[utoipa::path(
    post,
    path = "/v1/forget",
    operation_id = "forget",
    request_body = ForgetRequest,
    responses((status = 200, description = "If the call may be repeated.", body = Forgotten), Failure)
)]
pub(super) async fn forget(State(api): State<Api>, request: Request) -> Response {
    answer::timed("forget", async {
        let asked: ForgetRequest = asked::json(request.into_body()).await?;
        traces::join([&asked.headers].into_iter().chain(&asked.inbound));
        let (url, sent) = (asked::url(&asked.url)?, header_pairs::read_answered(&asked.headers)?);
        let loaded = api.live.current();
        let context = asked::context(&loaded, asked.inbound, asked.without_user).await?;
        let context = asked::with_details(context, asked.authorization_details)?;
        let repeat = match asked.answer {
            None => {
                loaded.propagator().forget(&context, &url).await;
                true
            }
            Some(TargetAnswer { status, headers }) => {
                let answer = (answer::status_of(status)?, &header_pairs::read(&headers)?);
                loaded.propagator().may_repeat(&context, &url, &sent, answer).await
            }
        };
        Ok(answer::json(&Forgotten { repeat }))
    })
    .await
}
