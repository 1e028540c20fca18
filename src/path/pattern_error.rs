//! Why a text is not a valid pattern.

use super::pattern::SEGMENTS_MAX;
use super::spelling::BadPath;
use std::fmt;

/// Why a text is not a valid pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// It would be refused as a path.
    BadPath(BadPath),
    /// It isn't canonical.
    NotCanonical {
        /// The canonical spelling.
        canonical: String,
    },
    /// A segment that some upstream reads differently: path parameters, a double escape, a trailing dot or space.
    Ambiguous {
        /// The segment as written.
        segment: String,
    },
    /// A `*` outside `{*name}`, which would be a literal star.
    Star {
        /// The segment as written.
        segment: String,
    },
    /// A brace that isn't part of a `{name}` or `{*name}` of a whole segment.
    Brace {
        /// The segment as written.
        segment: String,
    },
    /// A capture whose name isn't made of ASCII letters, digits and `_`.
    Name {
        /// The segment as written.
        segment: String,
    },
    /// A `{*name}` that isn't last.
    RestNotLast,
    /// More than [`SEGMENTS_MAX`] segments.
    TooManySegments,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadPath(bad) => bad.fmt(f),
            Self::NotCanonical { canonical } => write!(f, "a path has one spelling; write `{canonical}`"),
            Self::Ambiguous { segment } => write!(
                f,
                "some servers read `{segment}` as something else; leave out `;`, double escapes, and dots or spaces at its end"
            ),
            Self::Star { segment } => write!(
                f,
                "the * in `{segment}` stands for nothing but itself: write {{*rest}} as the last segment, or {{name}} for one"
            ),
            Self::Brace { segment } => {
                write!(
                    f,
                    "braces stand around a whole segment, `{{name}}` or `{{*name}}`; `{segment}` is neither"
                )
            }
            Self::Name { segment } => write!(f, "`{segment}` needs a name of ASCII letters, digits and `_`"),
            Self::RestNotLast => f.write_str("nothing may follow `{*name}`"),
            Self::TooManySegments => write!(f, "more than {SEGMENTS_MAX} segments"),
        }
    }
}

impl std::error::Error for PatternError {}

impl From<BadPath> for PatternError {
    fn from(bad: BadPath) -> Self {
        Self::BadPath(bad)
    }
}
