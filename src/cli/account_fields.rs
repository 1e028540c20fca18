//! The fields of an account as command-line options, and as lines of output.

use std::io::{self, Write};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use serde_json::{Map, Value};

use super::{limits, table};
use crate::store::account::{FIELDS, Field, FieldKind};

/// The option that makes an account delegate.
const DELEGATE: &str = "delegate";
/// The field for the number of users of a delegating account.
const MAX_USERS: &str = "max_users";
/// Users of a delegating account by default.
const USERS_DEFAULT: u32 = 10_000;

/// The fields that the options set, as in a request; `null` clears one. A new account has nothing to clear, so there `null` is left
/// out.
#[derive(Debug)]
pub struct TermsArgs<const NEW: bool>(pub Map<String, Value>);

impl<const NEW: bool> Args for TermsArgs<NEW> {
    fn augment_args(command: Command) -> Command {
        FIELDS.iter().fold(command, |command, field| {
            let command = match field.name {
                MAX_USERS => command.arg(delegate()),
                _ => command,
            };
            command.arg(option(field).required(NEW && field.kind == FieldKind::Tier))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const NEW: bool> FromArgMatches for TermsArgs<NEW> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut fields = Map::new();
        if matches.get_flag(DELEGATE) {
            fields.insert(MAX_USERS.to_owned(), USERS_DEFAULT.into());
        }
        let given = FIELDS
            .iter()
            .filter_map(|field| Some((field.name.to_owned(), given::<NEW>(field, matches)?)));
        fields.extend(given);
        Ok(Self(fields))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn delegate() -> Arg {
    Arg::new(DELEGATE)
        .long(DELEGATE)
        .action(ArgAction::SetTrue)
        .help("Let the account send requests for users of its own, named with `uid` or `X-Tiergate-User`")
}

/// The option that sets that field.
fn option(field: &'static Field) -> Arg {
    let option = Arg::new(field.name).long(field.option()).help(field.about());
    match field.kind {
        FieldKind::Tier => option.value_name("NAME"),
        FieldKind::Text => option.value_name("TEXT").value_parser(text),
        FieldKind::Time => option
            .value_name("DATE")
            .value_parser(|time: &str| match field.nothing {
                Some(word) if word == time => Ok(Value::Null),
                _ => text(time),
            }),
        FieldKind::Number => option.value_name("N").value_parser(|number: &str| match field.nothing {
            Some(word) if word == number => Ok(Value::Null),
            Some(word) => whole(number).ok_or(format!("write a number, or `{word}`")),
            None => whole(number).ok_or("write a number".to_owned()),
        }),
        FieldKind::Flag => option.action(ArgAction::SetTrue),
        FieldKind::Quotas => by_name(option).value_parser(quota),
        FieldKind::Limits => by_name(option).value_parser(limits::raise),
    }
}

fn by_name(option: Arg) -> Arg {
    option.value_name("NAME=N").action(ArgAction::Append)
}

/// Empty text clears the field.
fn text(text: &str) -> Result<Value, String> {
    Ok(if text.is_empty() { Value::Null } else { text.into() })
}

fn whole(text: &str) -> Option<Value> {
    text.parse::<u32>().ok().map(Value::from)
}

fn quota(text: &str) -> Result<(String, Value), String> {
    let wrong = || "write NAME=N, such as daily=5000, or NAME=tier".to_owned();
    let (name, limit) = text.split_once('=').ok_or_else(wrong)?;
    let limit = match limit {
        "tier" => Value::Null,
        number => number.parse::<u64>().map_err(|_| wrong())?.into(),
    };
    Ok((name.to_owned(), limit))
}

/// The value that the options give the field, if any.
fn given<const NEW: bool>(field: &Field, matches: &ArgMatches) -> Option<Value> {
    let value = match field.kind {
        FieldKind::Tier => matches.get_one::<String>(field.name).cloned().map(Value::from),
        FieldKind::Flag => matches.get_flag(field.name).then_some(Value::Bool(true)),
        FieldKind::Text | FieldKind::Time | FieldKind::Number => matches.get_one(field.name).cloned(),
        FieldKind::Quotas | FieldKind::Limits => {
            let numbers = matches.get_many::<(String, Value)>(field.name)?.cloned();
            let numbers: Map<String, Value> = numbers.filter(|(_, number)| !(NEW && number.is_null())).collect();
            (!numbers.is_empty()).then_some(numbers.into())
        }
    };
    value.filter(|value| !(NEW && value.is_null()))
}

/// Writes an account, one field per line.
pub fn show(account: &Value, out: &mut impl Write) -> io::Result<()> {
    let mut line = |label: &str, cell: String| writeln!(out, "  {label:<12} {cell}");
    line("name", table::cell(&account["name"]))?;
    for field in FIELDS {
        let value = &account[field.name];
        let cell = match field.kind {
            FieldKind::Limits => limits::cell(value),
            _ => table::cell(value),
        };
        let cell = match field.kind {
            FieldKind::Tier if account["tier_exists"] == false => {
                format!("{cell} (not in tiers.yaml: the anonymous tier applies)")
            }
            _ => cell,
        };
        line(&field.name.replace('_', " "), cell)?;
        if field.kind == FieldKind::Flag {
            line("by rule", table::blocks_by_rule(&account["blocked_by_rule"]))?;
        }
    }
    ["keys", "created", "origin", "id"]
        .into_iter()
        .try_for_each(|name| line(name, table::cell(&account[name])))
}
