//! `/admin/v1/issuers`, `/admin/v1/agents` and `/admin/v1/delegations`: the entries of the registry.
//!
//! The three kinds have the same endpoints, with the descriptions that [`routes`] makes of a
//! [`Kind`].

use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::MethodRouter;
use utoipa::openapi::path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn, Paths};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{
    Content, Header, HttpMethod, Object, Ref, Required, Response as Described, ResponseBuilder, ResponsesBuilder, Type,
};
use utoipa::{PartialSchema as _, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::answer::EntryList;
use super::call::{self, Asked};
use super::openapi::{ReadProblems, WriteProblems};
use super::refused::Refused;
use super::{AdminApi, answer, pages};
use crate::admin::PutEntry;
use crate::config::Role;
use crate::registry::{Agent, Delegation, Issuer};
use crate::storage::EntryKind;

/// A kind of entry, as its endpoints describe it.
struct Kind {
    kind: EntryKind,
    /// The last segment of the list's path.
    path: &'static str,
    /// The name of one entry, without and with its article.
    names: [&'static str; 2],
    /// The name of the id in the path, and its description.
    id: [&'static str; 2],
    /// A sentence about the content of a shown entry.
    shown: &'static str,
}

const ISSUER: Kind = Kind {
    kind: EntryKind::Issuer,
    path: "issuers",
    names: ["issuer", "an issuer"],
    id: ["issuer", "Its `iss`, percent-encoded."],
    shown: "",
};

const AGENT: Kind = Kind {
    kind: EntryKind::Agent,
    path: "agents",
    names: ["agent", "an agent"],
    id: ["id", "Its id, percent-encoded."],
    shown: " Hashes of secrets appear as `withheld`.",
};

const DELEGATION: Kind = Kind {
    kind: EntryKind::Delegation,
    path: "delegations",
    names: ["delegation", "a delegation"],
    id: ["id", "`actor->target`, with `#2` and so on for further delegations of the pair. Percent-encoded."],
    shown: "",
};

/// Adds the endpoints of all kinds.
pub(super) fn routes(router: OpenApiRouter<AdminApi>) -> OpenApiRouter<AdminApi> {
    [of_kind::<Issuer>(&ISSUER), of_kind::<Agent>(&AGENT), of_kind::<Delegation>(&DELEGATION)]
        .into_iter()
        .flatten()
        .fold(router, OpenApiRouter::routes)
}

/// Returns the endpoints of a kind, whose entries have the schema of `T`.
fn of_kind<T: ToSchema>(described: &Kind) -> [UtoipaMethodRouter<AdminApi>; 2] {
    let Kind { kind, path, id: [id, _], .. } = *described;
    let (entry, list) = (T::name(), format!("EntryList_{}", T::name()));
    let mut schemas = vec![(entry.to_string(), T::schema()), (list.clone(), EntryList::<T>::schema())];
    T::schemas(&mut schemas);
    EntryList::<T>::schemas(&mut schemas);
    let (mut all, mut one) = (Paths::new(), Paths::new());
    all.add_path_operation(format!("/{path}"), vec![HttpMethod::Get], described.list(&list));
    let path = format!("/{path}/{{{id}}}");
    one.add_path_operation(&path, vec![HttpMethod::Get], described.get(&entry));
    one.add_path_operation(&path, vec![HttpMethod::Put], described.put(&entry));
    one.add_path_operation(&path, vec![HttpMethod::Delete], described.delete());
    let of_all = MethodRouter::new().get(move |State(api), request| list_entries(api, request, kind));
    let of_one = MethodRouter::new()
        .get(move |State(api), request| get_entry(api, request, kind))
        .put(move |State(api), request| put_entry(api, request, kind))
        .delete(move |State(api), request| delete_entry(api, request, kind));
    [(schemas, all, of_all), (Vec::new(), one, of_one)]
}

impl Kind {
    fn operation(&self, id: String, summary: String) -> OperationBuilder {
        OperationBuilder::new().operation_id(Some(id)).tag(self.path).summary(Some(summary))
    }

    /// Returns an operation on one entry.
    fn on_one(&self, verb: &str, summary: String) -> OperationBuilder {
        let [name, description] = self.id;
        let id = parameter(name, ParameterIn::Path, Required::True, description);
        self.operation(format!("{verb}_{}", self.names[0]), summary).parameter(id)
    }

    fn list(&self, list: &str) -> Operation {
        let all =
            ResponseBuilder::new().description(format!("A page of the {}.", self.path)).content(JSON, content(list));
        let responses = ResponsesBuilder::new().response("200", all).responses_from_into_responses::<ReadProblems>();
        let operation = self.operation(format!("list_{}", self.path), format!("Lists the {}.", self.path));
        let described = |(name, description)| parameter(name, ParameterIn::Query, Required::False, description);
        pages::PARAMETERS
            .map(described)
            .into_iter()
            .fold(operation, OperationBuilder::parameter)
            .responses(responses)
            .build()
    }

    fn get(&self, entry: &str) -> Operation {
        let [name, a_name] = self.names;
        let shown = with_entry(format!("The {name}."), entry, "`file` or `api`");
        let responses = ResponsesBuilder::new().response("200", shown).responses_from_into_responses::<ReadProblems>();
        self.on_one("get", format!("Shows {a_name}.{}", self.shown)).responses(responses).build()
    }

    fn put(&self, entry: &str) -> Operation {
        let [name, a_name] = self.names;
        let body = RequestBodyBuilder::new().content(JSON, content(entry)).required(Some(Required::True)).build();
        let responses = ResponsesBuilder::new()
            .response("200", with_entry(format!("The {name} as it is now."), entry, "`file` or `api`"))
            .response("201", with_entry(format!("The new {name}."), entry, "`api`"))
            .responses_from_into_responses::<WriteProblems>();
        self.on_one("put", format!("Creates or replaces {a_name}."))
            .description(Some(format!("For {a_name} from the registry file, only `disabled` can be set or cleared.")))
            .parameter(header("If-Match", "The ETag of the entry that is to be changed."))
            .parameter(header("If-None-Match", "`*` for an entry that is new."))
            .request_body(Some(body))
            .responses(responses)
            .build()
    }

    fn delete(&self) -> Operation {
        let gone = ResponseBuilder::new().description("Deleted.");
        let responses = ResponsesBuilder::new().response("204", gone).responses_from_into_responses::<WriteProblems>();
        self.on_one("delete", format!("Deletes {} that this API created.", self.names[1]))
            .parameter(header("If-Match", "The ETag of the entry that is to be deleted."))
            .responses(responses)
            .build()
    }
}

const JSON: &str = "application/json";

fn content(schema: &str) -> Content {
    Content::new(Some(Ref::from_schema_name(schema)))
}

/// Returns the description of a response with an entry. `origins` are the values of `Entry-Origin`.
fn with_entry(description: String, entry: &str, origins: &str) -> Described {
    let text = |description: &str| {
        let mut header = Header::new(Object::with_type(Type::String));
        header.description = Some(description.to_owned());
        header
    };
    ResponseBuilder::new()
        .description(description)
        .content(JSON, content(entry))
        .header("ETag", text("Strong; changes whenever the entry does."))
        .header("Entry-Origin", text(&format!("The origin of the entry: {origins}.")))
        .build()
}

fn header(name: &str, description: &str) -> ParameterBuilder {
    parameter(name, ParameterIn::Header, Required::False, description)
}

fn parameter(name: &str, parameter_in: ParameterIn, required: Required, description: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(parameter_in)
        .required(required)
        .description(Some(description))
        .schema(Some(Object::with_type(Type::String)))
}

/// Answers with a page of the entries of a kind.
async fn list_entries(api: AdminApi, request: Request, kind: EntryKind) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let request = asked.page()?;
        Ok::<_, Refused>(answer::entries(&request, api.administration.entries(kind).await?))
    };
    call::answer(api, request, Role::Reader, act).await
}

/// Answers with one entry.
async fn get_entry(api: AdminApi, request: Request, kind: EntryKind) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        Ok::<_, Refused>(answer::entry(&api.administration.entry(kind, &asked.id()?).await?))
    };
    call::answer(api, request, Role::Reader, act).await
}

/// Stores an entry. Answers after the commit is visible on this server. An operator may only
/// disable and enable; an admin may change everything.
async fn put_entry(api: AdminApi, request: Request, kind: EntryKind) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        let (id, body, precondition) = (asked.id()?, asked.object()?, asked.precondition()?);
        let role = asked.operator.role;
        let put = PutEntry { kind, id: &id, body: &body, precondition: &precondition, role };
        let (outcome, entry) = api.administration.put_entry(&put, &asked.by).await?;
        api.app.sts.refresh().await?;
        Ok::<_, Refused>(answer::put(outcome, &entry))
    };
    call::answer(api, request, Role::Operator, act).await
}

/// Deletes an entry. Answers after the commit is visible on this server.
async fn delete_entry(api: AdminApi, request: Request, kind: EntryKind) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        let (id, precondition) = (asked.id()?, asked.precondition()?);
        api.administration.delete_entry(kind, &id, &precondition, &asked.by).await?;
        api.app.sts.refresh().await?;
        Ok::<_, Refused>(answer::gone())
    };
    call::answer(api, request, Role::Admin, act).await
}
