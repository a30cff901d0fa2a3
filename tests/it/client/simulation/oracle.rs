//! What must hold of every run. It knows what the STS was asked and gave, and nothing of how the client comes to its decisions.

use std::collections::HashMap;
use std::time::Duration;

use sts_client::propagate::Credential;
use sts_client::{Error, OnOutage, Route, WithoutUser};

use super::cast::{CAST, CastMember, Inbound, OWN_TENANTS, start};
use super::run::{ATTEMPTS, Call, Run, Seen};
use super::sts::{Asked, Asking, Given, Issued, State};

/// So long a refusal may be remembered.
const REFUSAL_MEMORY: Duration = Duration::from_secs(5);

type Verdict = Result<(), String>;

/// The requests that were made for one token without a pause for others: by one leader.
struct Flight<'a>(Vec<&'a Asking>);

type Flights<'a> = HashMap<Asked, Vec<Flight<'a>>>;

impl Flight<'_> {
    fn began(&self) -> Duration {
        self.0.first().map_or(Duration::MAX, |asking| asking.began)
    }

    fn ended(&self) -> Duration {
        self.0.last().map_or(Duration::ZERO, |asking| asking.ended)
    }

    fn may_be_given_up_under_load(&self) -> bool {
        self.0.len() < ATTEMPTS as usize && self.0.last().is_some_and(|asking| matches!(asking.given, Given::Load(_)))
    }

    /// Nothing but an outage was seen.
    fn is_outage(&self) -> bool {
        self.0.iter().all(|asking| asking.given.is_outage())
    }
}

/// What is wrong with a run; nothing, if all is well.
pub fn judge(run: &Run) -> Verdict {
    let state = run.sts.lock();
    let flights = flights(&state)?;
    judge_respite(&state)?;
    judge_budget(&state, &flights)?;
    for seen in run.seen.iter().chain(&run.healed) {
        let judged = judge_call(seen, &state, &flights);
        judged.map_err(|why| told(&why, seen, &state))?;
    }
    for seen in &run.healed {
        judge_healed(seen).map_err(|why| told(&why, seen, &state))?;
    }
    Ok(())
}

/// What a person needs to understand what is wrong: the call, and what its agent had heard of the STS until then.
fn told(why: &str, seen: &Seen, state: &State) -> String {
    let heard = state.askings.iter().filter(|asking| asking.asked.agent == seen.call.agent);
    let heard = heard.filter(|asking| asking.began <= seen.ended).map(|asking| format!("\n    {asking:?}"));
    format!("{why}\n  {}: {seen:?}{}", CAST.callers[seen.call.caller].name, heard.collect::<String>())
}

/// All flights by what was asked for. There is never more than one at a time, and none makes more attempts than it may.
fn flights(state: &State) -> Result<Flights<'_>, String> {
    let mut flights: Flights<'_> = HashMap::new();
    for asking in &state.askings {
        let of_key = flights.entry(asking.asked.clone()).or_default();
        match of_key.iter_mut().find(|flight| flight.0[0].correlation_id == asking.correlation_id) {
            Some(flight) => flight.0.push(asking),
            None => of_key.push(Flight(vec![asking])),
        }
    }
    for (asked, of_key) in &flights {
        for (flight, next) in of_key.iter().zip(of_key.iter().skip(1)) {
            if next.began() < flight.ended() {
                return Err(format!("two flights at once for {asked:?}"));
            }
        }
        if let Some(flight) = of_key.iter().find(|flight| flight.0.len() > ATTEMPTS as usize) {
            return Err(format!("{} attempts for {asked:?}", flight.0.len()));
        }
    }
    Ok(flights)
}

/// The loads of an agent that say for how long the STS wants to be left alone.
fn respites(state: &State, agent: usize) -> impl Iterator<Item = (Duration, Duration)> {
    state.askings.iter().filter(move |asking| asking.asked.agent == agent).filter_map(|asking| match asking.given {
        Given::Load(Some(retry_after)) => Some((asking.ended, asking.ended + retry_after)),
        _ => None,
    })
}

/// No agent asks an STS that wants to be left alone.
fn judge_respite(state: &State) -> Verdict {
    for asking in &state.askings {
        let early =
            respites(state, asking.asked.agent).find(|(from, until)| *from < asking.began && asking.began < *until);
        if let Some((from, until)) = early {
            return Err(format!("asked too early, between {from:?} and {until:?}: {asking:?}"));
        }
    }
    Ok(())
}

/// The further attempts of an agent are as many as its budget allows: ten, one for each that succeeded, and one for five other successes.
fn judge_budget(state: &State, flights: &Flights<'_>) -> Verdict {
    let mut spent: HashMap<usize, (usize, usize)> = HashMap::new();
    for flight in flights.values().flatten() {
        let (further, earned) = spent.entry(flight.0[0].asked.agent).or_default();
        *further += flight.0.len() - 1;
        let succeeded = flight.0.last().is_some_and(|asking| asking.given == Given::Token);
        *earned += usize::from(succeeded) * if flight.0.len() == 1 { 1 } else { 5 };
    }
    match spent.values().find(|(further, earned)| further * 5 > 50 + earned) {
        Some((further, earned)) => {
            Err(format!("{further} further attempts, with {earned} earned: {:?}", state.askings))
        }
        None => Ok(()),
    }
}

fn judge_call(seen: &Seen, state: &State, flights: &Flights<'_>) -> Verdict {
    let caller = &CAST.callers[seen.call.caller];
    match &seen.outcome {
        Ok(credential) => {
            judge_headers(seen, caller, *credential)?;
            let issued = issued(seen, state)?;
            let forgotten = state.forgotten.iter().filter(|(at, asked)| *at < seen.call.at && *asked == issued.asked);
            require(forgotten.into_iter().all(|(at, _)| *at <= issued.at), "a token left that was to be forgotten")?;
            match credential {
                Credential::Exchanged => judge_exchanged(seen, caller, issued),
                Credential::ServiceAccount => judge_own(seen, caller, issued),
                Credential::Fallback => judge_fallback(seen, (caller, issued), flights),
                Credential::PassThrough => Err("no route passes anything through".to_owned()),
            }
        }
        Err(error) => {
            let speaks = ["authorization", "x-tenant-id", "x-delegation-fallback"];
            require(!speaks.iter().any(|name| seen.headers.contains_key(*name)), "a failed call speaks for somebody")?;
            judge_error(seen, (caller, error), state, flights)
        }
    }
}

fn judge_headers(seen: &Seen, caller: &CastMember, credential: Credential) -> Verdict {
    let count = |name: &str| seen.headers.get_all(name).iter().count();
    let text = |name: &str| seen.headers.get(name).and_then(|value| value.to_str().ok());
    require(count("authorization") == 1, "not one Authorization")?;
    require(text("x-tenant-id") == caller.tenant && count("x-tenant-id") <= 1, "another tenant")?;
    let fallback = (credential == Credential::Fallback).then_some("service-account");
    require(text("x-delegation-fallback") == fallback, "X-Delegation-Fallback says something else")?;
    require(seen.headers["authorization"].is_sensitive(), "the token would be logged")
}

/// The token that left, as the STS gave it. It is alive.
fn issued<'a>(seen: &Seen, state: &'a State) -> Result<&'a Issued, String> {
    let token = seen.headers["authorization"].to_str().unwrap().trim_start_matches("Bearer ");
    let issued = state.issued.get(token).ok_or("a token left that the sts never gave as what it is")?;
    require(start() + seen.ended < issued.exp, "a dead token left")?;
    Ok(issued)
}

fn judge_exchanged(seen: &Seen, caller: &CastMember, issued: &Issued) -> Verdict {
    let user = caller.user().ok_or("a token was exchanged without a user")?;
    require(seen.ended.as_secs() < user.dies_after, "a token left for a user whose own has died")?;
    require(issued.asked == asked(&seen.call, Some(seen.call.caller)), "the token is of another key")
}

fn judge_own(seen: &Seen, caller: &CastMember, issued: &Issued) -> Verdict {
    require(caller.user().is_none(), "a service account instead of a user")?;
    require(route(&seen.call).without_user == WithoutUser::ServiceAccount, "a service account where none may go")?;
    judge_own_token(seen, caller, issued)
}

fn judge_own_token(seen: &Seen, caller: &CastMember, issued: &Issued) -> Verdict {
    require(caller.tenant.is_none_or(|tenant| OWN_TENANTS.contains(&tenant)), "for a tenant that is not its own")?;
    require(issued.asked == asked(&seen.call, None), "a service account's token of another agent or target")
}

/// An outage, whole and nothing else, or none asked because of an outage just before.
fn judge_fallback(seen: &Seen, (caller, issued): (&CastMember, &Issued), flights: &Flights<'_>) -> Verdict {
    judge_own_token(seen, caller, issued)?;
    let user = caller.user().ok_or("a fallback without a user")?;
    require(seen.ended.as_secs() < user.dies_after, "a fallback for a user whose token has died")?;
    require(route(&seen.call).on_outage == OnOutage::ServiceAccount, "a fallback where there may be none")?;
    let mut for_user = mine(seen, flights).filter(|flight| flight.0.iter().all(|asking| asking.asked.caller.is_some()));
    if let Some(first) = for_user.next() {
        return require(first.is_outage() || for_user.any(Flight::is_outage), "a fallback though the sts answered");
    }
    require(out_of_reach(seen, flights), "a fallback though the sts was not asked and was there")
}

/// Whether what the agent learned last of the STS, before the call ended, is that it is out of reach. A flight that may have been given up
/// by those who waited for it taught nothing.
fn out_of_reach(seen: &Seen, flights: &Flights<'_>) -> bool {
    let mine = flights.iter().filter(|(asked, _)| asked.agent == seen.call.agent).flat_map(|(_, flights)| flights);
    let settled = mine.filter(|flight| flight.ended() <= seen.ended && !flight.may_be_given_up_under_load());
    settled.max_by_key(|flight| flight.ended()).is_some_and(Flight::is_outage)
}

fn judge_error(seen: &Seen, (caller, error): (&CastMember, &Error), state: &State, flights: &Flights<'_>) -> Verdict {
    match error {
        Error::Refused { code } => judge_refusal(seen, caller, code.as_str(), state),
        // Load is shared with those who waited for the very same request; and with all of the agent for as long as `Retry-After` says.
        Error::Unavailable { outage: None, .. } => {
            let is_load = |asking: &&Asking| matches!(asking.given, Given::Load(_));
            let load = mine(seen, flights).any(|flight| flight.0.iter().any(&is_load));
            let began = mine(seen, flights).map(Flight::began).min().unwrap_or(seen.call.at).min(seen.call.at);
            let mut respites = respites(state, seen.call.agent);
            let respite = respites.any(|(from, until)| from <= seen.ended && began < until);
            require(load || respite, "unavailable without load")
        }
        Error::Unavailable { outage: Some(_), .. } => {
            let asked = mine(seen, flights).any(Flight::is_outage);
            require(asked || out_of_reach(seen, flights), "unavailable without an outage")
        }
        Error::WrongAudience { issued } => {
            require(&**issued == "elsewhere", "an audience that the sts never gave")?;
            judge_refusal(seen, caller, "invalid_response", state)
        }
        other => Err(format!("{other}")),
    }
}

fn judge_refusal(seen: &Seen, caller: &CastMember, code: &str, state: &State) -> Verdict {
    let dead = caller.user().is_some_and(|user| user.dies_after <= seen.ended.as_secs());
    match code {
        "invalid_token" => require(dead, "a living token is called dead"),
        "login_required" => {
            let refused = route(&seen.call).without_user == WithoutUser::Fail && caller.user().is_none();
            require(refused, "login is required where none is")
        }
        "invalid_tenant" => {
            require(caller.tenant.is_some_and(|tenant| !OWN_TENANTS.contains(&tenant)), "a good tenant is refused")
        }
        code => {
            // Only the very same question was refused, and not long ago.
            let said = |asking: &&Asking| match &asking.given {
                Given::Refusal(given) => given == code,
                Given::Rubbish => code == "invalid_response",
                Given::Token | Given::Load(_) | Given::Outage | Given::NothingYet => false,
            };
            let mut askings = state.askings.iter().filter(|asking| is_of(asking, seen)).filter(said);
            require(
                askings.any(|asking| within(asking, seen, REFUSAL_MEMORY)),
                "refused, though nobody has refused this of late",
            )
        }
    }
}

/// When all has healed, whoever may call can.
fn judge_healed(seen: &Seen) -> Verdict {
    let caller = &CAST.callers[seen.call.caller];
    let expected = match &caller.inbound {
        Inbound::User(user) if user.dies_after <= seen.ended.as_secs() => Err("invalid_token"),
        Inbound::User(_) => Ok(Credential::Exchanged),
        Inbound::ServiceAccount(_) | Inbound::Nobody => match route(&seen.call).without_user {
            WithoutUser::Fail => Err("login_required"),
            WithoutUser::ServiceAccount if caller.tenant == Some("evil") => Err("invalid_tenant"),
            WithoutUser::ServiceAccount => Ok(Credential::ServiceAccount),
        },
    };
    let found = match &seen.outcome {
        Ok(credential) => Ok(*credential),
        Err(Error::Refused { code }) => Err(code.as_str()),
        Err(other) => return Err(format!("not healed: {other}")),
    };
    require(found == expected, "not healed")
}

fn route(call: &Call) -> &'static Route {
    &CAST.routes[call.route]
}

/// What the STS is asked for a call.
pub fn asked(call: &Call, caller: Option<usize>) -> Asked {
    let route = route(call);
    Asked {
        agent: call.agent,
        caller,
        audience: route.audience.clone().unwrap_or_default(),
        scope: route.scope.to_string(),
    }
}

/// Whether that was asked for this call: for its user, or for the agent's own token.
fn is_of(asking: &Asking, seen: &Seen) -> bool {
    asking.asked == asked(&seen.call, Some(seen.call.caller)) || asking.asked == asked(&seen.call, None)
}

/// Whether that was over before the call was, and not longer than so long before the call began.
fn within(asking: &Asking, seen: &Seen, memory: Duration) -> bool {
    asking.ended <= seen.ended && seen.call.at <= asking.ended + memory
}

/// The flights that a call may have waited for.
fn mine<'a>(seen: &Seen, flights: &'a Flights<'a>) -> impl Iterator<Item = &'a Flight<'a>> {
    let (began, ended) = (seen.call.at, seen.ended);
    let keys = [asked(&seen.call, Some(seen.call.caller)), asked(&seen.call, None)];
    let of_keys = keys.into_iter().filter_map(|asked| flights.get(&asked)).flatten();
    of_keys.filter(move |flight| flight.began() <= ended && began <= flight.ended())
}

fn require(holds: bool, otherwise: &str) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}
