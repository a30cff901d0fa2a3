//! The names of issuers: exact names, and names with a placeholder for the tenant.

/// The placeholder in the name of an issuer for the segment that is the tenant.
const PLACEHOLDER: &str = "{tenantid}";

/// The longest segment that [`PLACEHOLDER`] matches.
const MAX_SEGMENT_CHARS: usize = 64;

/// A name of an issuer: the exact `iss` of its tokens, or a template. In a template, `{tenantid}`
/// stands for one segment of the path, of 1 to 64 letters, digits and `-`.
///
/// ```
/// use sts_jose::IssuerName;
///
/// let entra = IssuerName::new("https://login.microsoftonline.com/{tenantid}/v2.0");
/// assert_eq!(entra.tenant_of("https://login.microsoftonline.com/contoso/v2.0"), Some("contoso"));
/// assert_eq!(entra.tenant_of("https://login.microsoftonline.com/a/b/v2.0"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerName {
    before: String,
    /// The text after the placeholder, or `None` in an exact name.
    after: Option<String>,
}

impl IssuerName {
    /// Reads a name. A placeholder that is not a whole segment is ordinary text.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let is_segment =
            |(before, after): &(&str, &str)| before.ends_with('/') && (after.is_empty() || after.starts_with('/'));
        match name.split_once(PLACEHOLDER).filter(is_segment) {
            Some((before, after)) => Self { before: before.to_owned(), after: Some(after.to_owned()) },
            None => Self { before: name.to_owned(), after: None },
        }
    }

    /// Returns true if the name has a placeholder for the tenant.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.after.is_some()
    }

    /// Returns true if this names the issuer of a token with this `iss`.
    #[must_use]
    pub fn is(&self, iss: &str) -> bool {
        if self.is_template() { self.tenant_of(iss).is_some() } else { self.before == iss }
    }

    /// Returns the segment of an `iss` at the placeholder for the tenant.
    #[must_use]
    pub fn tenant_of<'n>(&self, iss: &'n str) -> Option<&'n str> {
        let segment = iss.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_deref()?)?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        ((1..=MAX_SEGMENT_CHARS).contains(&segment.len()) && segment.bytes().all(fits)).then_some(segment)
    }

    /// Returns the name with a tenant in place of the placeholder. An exact name is returned
    /// unchanged.
    #[must_use]
    pub fn of_tenant(&self, tenant: &str) -> String {
        match &self.after {
            Some(after) => format!("{}{tenant}{after}", self.before),
            None => self.before.clone(),
        }
    }
}
