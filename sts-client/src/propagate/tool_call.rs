//! The authorization details of a message of an MCP session.

use url::Url;

use super::Propagator;
use crate::call::{CallContext, RefusalCode, RequestedDetails, of_tool};
use crate::error::Error;

impl Propagator {
    /// Returns the context for a message of an MCP session at `url`: a call of this tool, or another message.
    ///
    /// # Errors
    /// [`Error::Refused`] if the authorization details of the call do not permit the tool.
    pub(crate) fn for_message(
        &self,
        context: CallContext,
        url: &Url,
        tool: Option<&str>,
    ) -> Result<CallContext, Error> {
        let Some(route) = self.0.hop(url).map(|hop| &hop.route).filter(|route| route.per_tool) else {
            return Ok(context);
        };
        let details = match tool {
            None => Vec::new(),
            Some(tool) => {
                of_tool(context.details().map_or(&route.authorization_details[..], RequestedDetails::elements), tool)
                    .ok_or(Error::Refused { code: RefusalCode::INVALID_AUTHORIZATION_DETAILS })?
            }
        };
        Ok(context.with_authorization_details(details))
    }
}
