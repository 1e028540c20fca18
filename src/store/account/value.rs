//! The kinds of values that an account's fields have: how each is changed, checked and stored.

use std::collections::BTreeMap;

use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Deserializer, Serialize};

use super::bounds::{Bounds, Illegal, check_numbers};
use crate::policy::rules::LimitOverride;
use crate::policy::time::UnixTime;
use crate::store::calendar;
use crate::store::rows::{millis, unix_time};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// The name of a tier; required.
    Tier,
    /// Optional text.
    Text,
    /// An optional whole number.
    Number,
    /// An optional time.
    Time,
    /// A boolean.
    Flag,
    /// Whole numbers by quota name.
    Quotas,
    /// Numbers by request limit name.
    Limits,
}

impl FieldKind {
    /// Describes the JSON form, of a whole account or of a change to one.
    pub fn in_json(self, changes: bool) -> &'static str {
        match (self, changes) {
            (Self::Tier, _) => "the name of a tier",
            (Self::Text, _) => "text, or null",
            (Self::Number, _) => "a whole number, or null",
            (Self::Time, _) => "a time as text, such as \"2027-01-01\" (UTC) or \"2027-01-01T12:00:00Z\", or null",
            (Self::Flag, _) => "true or false",
            (Self::Quotas, false) => "an object of whole numbers by the names of quotas",
            (Self::Quotas, true) => "an object of whole numbers or null by the names of quotas",
            (Self::Limits, false) => {
                "an object of numbers by the names of request limits, each such as 300, or { \"limit\": 5000, \"lifts\": \"network\" }"
            }
            (Self::Limits, true) => {
                "an object of numbers or null by the names of request limits, each such as 300, or { \"limit\": 5000, \"lifts\": \"network\" }"
            }
        }
    }

    /// Whether it is a column of the table of accounts. Overrides by name have tables of their own.
    pub const fn is_column(self) -> bool {
        !matches!(self, Self::Quotas | Self::Limits)
    }
}

/// A change to an optional value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// Leave it.
    #[default]
    Keep,
    /// Set it.
    Set(T),
    /// Clear it: `null` in JSON.
    Clear,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::deserialize(from).map(|value| value.map_or(Self::Clear, Self::Set))
    }
}

impl<T> Change<T> {
    /// The value after the change.
    pub fn of(self, old: Option<T>) -> Option<T> {
        match self {
            Self::Keep => old,
            Self::Set(new) => Some(new),
            Self::Clear => None,
        }
    }
}

/// The value of a field.
pub trait FieldValue: Sized {
    /// The form of a change.
    type Patch;
    /// Its kind.
    const KIND: FieldKind;

    /// Applies the change.
    fn patch(&mut self, patch: &Self::Patch);

    /// Checks the value.
    fn check(&self, bounds: Bounds) -> Result<(), Illegal>;

    /// Reads it from the next column, if its kind has one.
    fn read(row: &Row<'_>, columns: &mut impl Iterator<Item = usize>) -> rusqlite::Result<Self>;

    /// Appends its column to a row, if its kind has one.
    fn write<'v>(&'v self, row: &mut Vec<ToSqlOutput<'v>>) -> rusqlite::Result<()>;
}

/// `read` and `write` of a value with a column.
macro_rules! in_a_column {
    () => {
        fn read(row: &Row<'_>, columns: &mut impl Iterator<Item = usize>) -> rusqlite::Result<Self> {
            row.get(columns.next().unwrap_or(usize::MAX))
        }

        fn write<'v>(&'v self, row: &mut Vec<ToSqlOutput<'v>>) -> rusqlite::Result<()> {
            row.push(self.to_sql()?);
            Ok(())
        }
    };
}

impl FieldValue for String {
    type Patch = Option<Self>;
    const KIND: FieldKind = FieldKind::Tier;
    in_a_column!();

    fn patch(&mut self, patch: &Self::Patch) {
        if let Some(new) = patch {
            self.clone_from(new);
        }
    }

    fn check(&self, bounds: Bounds) -> Result<(), Illegal> {
        bounds.text(self)
    }
}

impl FieldValue for bool {
    type Patch = Option<Self>;
    const KIND: FieldKind = FieldKind::Flag;
    in_a_column!();

    fn patch(&mut self, patch: &Self::Patch) {
        *self = patch.unwrap_or(*self);
    }

    fn check(&self, _: Bounds) -> Result<(), Illegal> {
        Ok(())
    }
}

impl<T: ScalarValue> FieldValue for Option<T> {
    type Patch = Change<T>;
    const KIND: FieldKind = T::KIND;
    in_a_column!();

    fn patch(&mut self, patch: &Self::Patch) {
        *self = patch.clone().of(self.take());
    }

    fn check(&self, bounds: Bounds) -> Result<(), Illegal> {
        self.as_ref().map_or(Ok(()), |value| value.check(bounds))
    }
}

/// The content of an optional value.
pub trait ScalarValue: Clone + FromSql + ToSql {
    /// Its kind.
    const KIND: FieldKind;

    /// Checks the value.
    fn check(&self, bounds: Bounds) -> Result<(), Illegal>;
}

impl ScalarValue for String {
    const KIND: FieldKind = FieldKind::Text;

    fn check(&self, bounds: Bounds) -> Result<(), Illegal> {
        bounds.text(self)
    }
}

impl ScalarValue for u32 {
    const KIND: FieldKind = FieldKind::Number;

    fn check(&self, bounds: Bounds) -> Result<(), Illegal> {
        bounds.number((*self).into())
    }
}

impl ScalarValue for Until {
    const KIND: FieldKind = FieldKind::Time;

    fn check(&self, _: Bounds) -> Result<(), Illegal> {
        Ok(())
    }
}

/// A time: RFC 3339 or a bare date in JSON, milliseconds in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct Until(pub UnixTime);

impl From<Until> for String {
    fn from(Until(time): Until) -> Self {
        calendar::written(time)
    }
}

impl TryFrom<String> for Until {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        calendar::point(&text).map(Self).ok_or("not a time")
    }
}

impl FromSql for Until {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(|millis| Self(unix_time(millis)))
    }
}

impl ToSql for Until {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(millis(self.0).into())
    }
}

/// An account's overrides, by name.
pub type Numbers<T> = BTreeMap<String, T>;

/// An override of a tier's number.
pub trait OwnNumber: Copy + Into<u64> {
    /// The kind of a field that holds them.
    const KIND: FieldKind;
}

/// A quota's limit, in units.
impl OwnNumber for u64 {
    const KIND: FieldKind = FieldKind::Quotas;
}

impl OwnNumber for OwnLimit {
    const KIND: FieldKind = FieldKind::Limits;
}

impl<T: OwnNumber> FieldValue for Numbers<T> {
    /// A name that is left out stays. `None` under a name restores the tier's number.
    type Patch = Option<Numbers<Option<T>>>;
    const KIND: FieldKind = T::KIND;

    fn patch(&mut self, patch: &Self::Patch) {
        for (name, number) in patch.iter().flatten() {
            match number {
                Some(number) => drop(self.insert(name.clone(), *number)),
                None => drop(self.remove(name)),
            }
        }
    }

    fn check(&self, bounds: Bounds) -> Result<(), Illegal> {
        check_numbers(self.iter().map(|(name, number)| (&**name, (*number).into())), bounds)
    }

    fn read(_: &Row<'_>, _: &mut impl Iterator<Item = usize>) -> rusqlite::Result<Self> {
        Ok(Self::default())
    }

    fn write<'v>(&'v self, _: &mut Vec<ToSqlOutput<'v>>) -> rusqlite::Result<()> {
        Ok(())
    }
}

/// An account's own request limit: in JSON `300`, or `{ "limit": 5000, "lifts": "network" }` (rules §7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum OwnLimit {
    /// A number alone.
    Number(u32),
    /// A number that may also lift the limit of the account's network.
    Lifting(Lifting),
}

/// A number, and what else it lifts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lifting {
    limit: u32,
    lifts: Option<Lifts>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Lifts {
    Network,
}

impl From<LimitOverride> for OwnLimit {
    fn from(LimitOverride { number, lifts_network }: LimitOverride) -> Self {
        let lifts = Some(Lifts::Network);
        match lifts_network {
            false => Self::Number(number),
            true => Self::Lifting(Lifting { limit: number, lifts }),
        }
    }
}

impl From<OwnLimit> for LimitOverride {
    fn from(limit: OwnLimit) -> Self {
        let (number, lifts_network) = match limit {
            OwnLimit::Number(number) => (number, false),
            OwnLimit::Lifting(Lifting { limit, lifts }) => (limit, lifts.is_some()),
        };
        Self { number, lifts_network }
    }
}

impl From<OwnLimit> for u64 {
    fn from(limit: OwnLimit) -> Self {
        LimitOverride::from(limit).number.into()
    }
}
