//! The names of issuers: exact ones, and those with a place for the tenant.

/// Stands in the name of an issuer for the segment that is the tenant.
const PLACEHOLDER: &str = "{tenantid}";

/// The longest segment that [`PLACEHOLDER`] stands for.
const MAX_SEGMENT_CHARS: usize = 64;

/// A name of an issuer: the `iss` of its tokens, or a pattern of it in which `{tenantid}` stands for one segment of the path, of 1 to 64
/// letters, digits and `-`.
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
    /// The text after the placeholder; none in an exact name.
    after: Option<String>,
}

impl IssuerName {
    /// Reads a name. A placeholder that is no whole segment stands for itself.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let is_segment =
            |(before, after): &(&str, &str)| before.ends_with('/') && (after.is_empty() || after.starts_with('/'));
        match name.split_once(PLACEHOLDER).filter(is_segment) {
            Some((before, after)) => Self { before: before.to_owned(), after: Some(after.to_owned()) },
            None => Self { before: name.to_owned(), after: None },
        }
    }

    /// True if the name has a place for the tenant.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.after.is_some()
    }

    /// True if this is the name of the issuer of a token with this `iss`.
    #[must_use]
    pub fn is(&self, iss: &str) -> bool {
        if self.is_template() { self.tenant_of(iss).is_some() } else { self.before == iss }
    }

    /// The segment of an `iss` that stands in the place for the tenant.
    #[must_use]
    pub fn tenant_of<'n>(&self, iss: &'n str) -> Option<&'n str> {
        let segment = iss.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_deref()?)?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        ((1..=MAX_SEGMENT_CHARS).contains(&segment.len()) && segment.bytes().all(fits)).then_some(segment)
    }

    /// The name with a tenant in its place; an exact name as it is.
    #[must_use]
    pub fn of_tenant(&self, tenant: &str) -> String {
        match &self.after {
            Some(after) => format!("{}{tenant}{after}", self.before),
            None => self.before.clone(),
        }
    }
}
