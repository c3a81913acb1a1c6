//! Names with `*`, as policies select them.

/// A pattern in which `*` stands for any text, also none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob(String);

impl Glob {
    pub(super) fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// Whether the whole name fits.
    pub(super) fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(first) = parts.next() else { return false };
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else { return rest.is_empty() };
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.len() >= last.len() && rest.ends_with(last)
    }

    /// The pattern as written.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Whether it may mean more than one name.
    pub(super) fn is_pattern(&self) -> bool {
        self.0.contains('*')
    }

    /// How much it says: an exact name says most, then the longest fixed text.
    pub(super) fn weight(&self) -> u32 {
        let fixed = u32::try_from(self.0.len() - self.0.matches('*').count()).unwrap_or(u32::MAX);
        if self.0.contains('*') { fixed.min(999) } else { 1_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn a_star_stands_for_any_text_and_nothing_else_is_special() {
        for (pattern, name, fits) in [
            ("shop", "shop", true),
            ("shop", "shop-eu", false),
            ("shop-*", "shop-eu", true),
            ("shop-*", "shop", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b", "ab", true),
            ("ab*b", "ab", false),
            ("s?op", "shop", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(name), fits, "{pattern} {name}");
        }
    }
}
