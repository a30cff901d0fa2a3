//! The wire format of agent-sts: names and values that the server and its clients share.
//!
//! What lives here: the parameters, claims, actor chains, scopes, error codes and metadata that a
//! security token service and its clients exchange. They have the names of the RFCs, and the rules
//! of their grammar. What must never: I/O, cryptography, policy. A new token type, error code or
//! claim is first a variant or a field here. Then the server or the client uses it.

mod act;
mod authorization_detail;
mod claims;
mod error;
mod form;
mod metadata;
mod name;
mod quoted;
mod response;
mod scope;
mod tenant;
mod token_type;

pub mod parameter;

pub use act::{Act, ActError, Actor};
pub use authorization_detail::{
    AuthorizationDetail, DetailError, DetailLimit, DetailText, DetailValues, DetailsError, MAX_DETAILS,
    MAX_DETAILS_BYTES,
};
pub use claims::{AccessTokenClaims, Confirmation, SubjectId, TOKEN_TYPE_BEARER, TOKEN_TYPE_DPOP};
pub use error::{DeferralResponse, ErrorCode, ErrorResponse, InteractionResponse};
pub use form::{Form, FormError, FormFault};
pub use metadata::Metadata;
pub use name::is_name;
pub use quoted::split_unquoted;
pub use response::{IntrospectedToken, IntrospectionResponse, TokenResponse};
pub use scope::{MAX_SCOPE_BYTES, MAX_SCOPE_VALUE_CHARS, MAX_SCOPE_VALUES, Scope, ScopeError, ScopeToken};
pub use tenant::{Tenant, TenantError};
pub use token_type::TokenType;
