//! The fields of an account, each described once: for the store, the admin API, imports, exports and the command line.
//!
//! A new field needs a line in the list below, a column in schema.sql, and a place in [`Account`](super::Account), which the
//! compiler asks for.

use rusqlite::Row;
use rusqlite::types::ToSqlOutput;
use serde::{Deserialize, Serialize};

use super::bounds::{Bounds, Illegal, NAME, NOTE, OWN_LIMIT, Rule, SOURCE};
use super::value::{FieldKind, FieldValue, Numbers, OwnLimit, Until};

/// A field of an account, as the store, the API and the command line name it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in JSON, in CSV, in the audit log, and its column in the table of accounts.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldKind,
    /// The word that clears it on the command line.
    pub nothing: Option<&'static str>,
    /// Whether CSV files may have it. CSV holds text only.
    pub in_csv: bool,
    option: Option<&'static str>,
    about: &'static str,
    bounds: Bounds,
}

impl Field {
    const fn within(bounds: Bounds) -> Self {
        Self {
            name: "",
            kind: FieldKind::Text,
            option: None,
            nothing: None,
            in_csv: false,
            about: "",
            bounds,
        }
    }

    const fn as_option(mut self, option: &'static str) -> Self {
        self.option = Some(option);
        self
    }

    const fn nothing(mut self, word: &'static str) -> Self {
        self.nothing = Some(word);
        self
    }

    const fn in_csv(mut self) -> Self {
        self.in_csv = true;
        self
    }

    /// The option of commands that sets it, without its dashes.
    pub fn option(&self) -> &'static str {
        self.option.unwrap_or(self.name)
    }

    /// The help text of its option.
    pub fn about(&self) -> &'static str {
        self.about.trim()
    }
}

/// Generates the types and the table from the list. A field's doc comment is also the help text of its option.
macro_rules! fields {
    ($( $(#[doc = $about:literal])+ $(#[serde($serde:ident)])? $field:ident: $value:ty = $as_said:expr; )+) => {
        /// The fields of an account except its name, in the order in which they are shown.
        pub const FIELDS: &[Field] = &[
            $( Field {
                name: stringify!($field),
                kind: <$value as FieldValue>::KIND,
                about: concat!($($about),+),
                ..$as_said
            } ),+
        ];

        /// The terms of an account: as a client sends them, as they are shown, and as an export holds them.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        pub struct AccountSpec {
            /// Its name: 1 to 64 visible ASCII characters without spaces
            pub name: String,
            $( $(#[doc = $about])+ $(#[serde($serde)])? pub $field: $value, )+
        }

        /// A change to an account. A field that is left out stays; `null` clears it.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct AccountPatch {
            $( $(#[doc = $about])+ pub $field: <$value as FieldValue>::Patch, )+
        }

        impl AccountSpec {
            pub(super) fn patch(&mut self, patch: &AccountPatch) {
                $( self.$field.patch(&patch.$field); )+
            }

            /// # Errors
            /// The first value that is out of bounds.
            pub(in crate::store) fn check(&self) -> Result<(), Illegal> {
                NAME.text(&self.name)?;
                $( self.$field.check($as_said.bounds)?; )+
                Ok(())
            }

            /// The names of the fields in which the other account differs.
            pub fn differences(&self, other: &Self) -> Vec<&'static str> {
                let all = [$( (stringify!($field), self.$field != other.$field) ),+];
                all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
            }

            /// Reads the account of that name from a row whose columns from `first` on are [`columns`].
            pub(in crate::store) fn read(name: String, row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
                let mut columns = first..;
                Ok(Self {
                    name,
                    $( $field: FieldValue::read(row, &mut columns)?, )+
                })
            }

            /// The values for [`columns`].
            pub(in crate::store) fn row(&self) -> rusqlite::Result<Vec<ToSqlOutput<'_>>> {
                let mut row = Vec::new();
                $( self.$field.write(&mut row)?; )+
                Ok(row)
            }
        }
    };
}

fields! {
    /// The tier's name
    tier: String = Field::within(Bounds::of("a tier's name", Rule::Name)).in_csv();
    /// The owner's email address; empty clears it
    email: Option<String> = Field::within(Bounds::of("an email", Rule::Email)).in_csv();
    /// Concurrent jobs, or `tier` for the tier's limit
    concurrency: Option<u32> =
        Field::within(Bounds::of("a concurrency", Rule::Number(1, 10_000))).nothing("tier");
    /// The account's own limit for a quota, or `NAME=tier` for the tier's
    #[serde(default)]
    quotas: Numbers<u64> =
        Field::within(Bounds::of("a quota", Rule::Number(0, 1_000_000_000_000))).as_option("quota");
    /// The account's own request limit (`NAME=N,lifts=network` also lifts its network's), or `NAME=` for the tier's
    #[serde(default)]
    limits: Numbers<OwnLimit> = Field::within(OWN_LIMIT).as_option("limit");
    /// Date (UTC) or time from which the account has the anonymous tier's terms, such as 2027-01-01; or `never`
    until: Option<Until> = Field::within(Bounds::of("a time", Rule::Anything)).nothing("never");
    /// Block the account
    #[serde(default)]
    blocked: bool = Field::within(Bounds::of("a block", Rule::Anything)).as_option("block");
    /// Maximum number of delegated users (see --delegate); 10000 by default
    max_users: Option<u32> =
        Field::within(Bounds::of("the number of users", Rule::Number(1, 100_000))).as_option("max-users");
    /// A note for operators; empty clears it
    note: Option<String> = Field::within(NOTE);
    /// The import source that owns the account: `import --remove-missing` of it may remove the account; empty clears it
    source: Option<String> = Field::within(SOURCE);
}

/// The columns of the table of accounts that hold fields, in order.
pub(in crate::store) fn columns() -> impl Iterator<Item = &'static str> + Clone {
    FIELDS
        .iter()
        .filter(|field| field.kind.is_column())
        .map(|field| field.name)
}

impl AccountSpec {
    /// What is kept of a removed account: what identifies its usage, and nothing about its owner.
    pub(in crate::store) fn remainder(self) -> Self {
        Self {
            name: self.name,
            tier: self.tier,
            source: self.source,
            ..Self::default()
        }
    }
}

impl AccountPatch {
    /// For each kind of override that the patch names, removes the account's overrides that the patch leaves out.
    pub fn replace_numbers(&mut self, of: &AccountSpec) {
        fn all<T, U>(said: &mut Option<Numbers<Option<T>>>, old: &Numbers<U>) {
            let Some(said) = said else { return };
            for name in old.keys() {
                said.entry(name.clone()).or_insert(None);
            }
        }
        all(&mut self.quotas, &of.quotas);
        all(&mut self.limits, &of.limits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_has_a_name_an_option_and_help_of_its_own() {
        for of in [|field: &Field| field.name, Field::option, Field::about] {
            let mut all: Vec<&str> = FIELDS.iter().map(of).collect();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), FIELDS.len(), "{all:?}");
            assert!(!all.contains(&""));
        }
    }

    #[test]
    fn only_text_is_a_column_of_csv() {
        let csv = FIELDS.iter().filter(|field| field.in_csv);
        assert!(csv.clone().count() > 1);
        for field in csv {
            assert!(
                matches!(field.kind, FieldKind::Tier | FieldKind::Text),
                "{}",
                field.name
            );
        }
    }

    #[test]
    fn a_patch_keeps_what_it_leaves_out_and_clears_what_is_null() {
        let mut account = AccountSpec {
            email: Some("a@example.org".to_owned()),
            note: Some("a friend".to_owned()),
            concurrency: Some(3),
            blocked: true,
            quotas: [("daily".to_owned(), 5), ("hourly".to_owned(), 1)].into(),
            ..AccountSpec::default()
        };
        let patch = r#"{ "email": null, "concurrency": 4, "blocked": null, "quotas": { "daily": null, "weekly": 7 } }"#;
        account.patch(&serde_json::from_str(patch).expect("a patch"));
        let expected = AccountSpec {
            note: Some("a friend".to_owned()),
            concurrency: Some(4),
            blocked: true,
            quotas: [("hourly".to_owned(), 1), ("weekly".to_owned(), 7)].into(),
            ..AccountSpec::default()
        };
        assert_eq!(account, expected);
    }

    #[test]
    fn what_is_written_as_json_is_read_back() {
        let told = r#"{"name":"a","tier":"free","email":"a@example.org","concurrency":3,"quotas":{"daily":5},"limits":{"http":300,"burst":{"limit":9,"lifts":"network"}},"until":"2027-01-01","blocked":true,"max_users":5,"note":"a friend","source":"sponsors"}"#;
        let account: AccountSpec = serde_json::from_str(told).expect("an account");
        let written = serde_json::to_value(&account).expect("JSON");
        let mut expected: serde_json::Value = serde_json::from_str(told).expect("JSON");
        expected["until"] = "2027-01-01T00:00:00Z".into();
        assert_eq!(written, expected);
        assert_eq!(written.as_object().map(|fields| fields.len()), Some(FIELDS.len() + 1));
        assert_eq!(serde_json::from_value::<AccountSpec>(written).ok(), Some(account));
    }
}
