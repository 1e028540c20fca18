//! What sections and their checks are made with.

pub(super) use std::time::Duration;

pub(super) use schemars::JsonSchema;
pub(super) use serde::{Deserialize, Serialize};
pub(super) use serde_json::{Value, json};

pub(super) use super::entries::{ByName, Entry, Item, Items, KnownNames, Named, Names, Part};
pub(super) use super::entries::{entries, items, listed, named};
pub(super) use super::error::Report;
pub(super) use super::scalar::{As, Length, LengthIn, Maybe, OfSeveral, OrOff, Parsed, Scalar, Secret, Several, Size};
pub(super) use super::scalar::{TierName, UpstreamName, Whole, Wrong, inline_schema, millis, number, secs, wrong, yes};
pub(super) use super::snippet::quoted;
pub(super) use super::suggest::did_you_mean;
pub(super) use super::value::{name_is_legal, one_of, shown, text};
pub(super) use super::yaml::{Location, Node, NodeKind};
pub(super) use super::{de, words};
