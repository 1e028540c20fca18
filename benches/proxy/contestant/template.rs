//! Configuration files with a value for each `@name@`.

use std::fmt::Display;

use crate::Result;

/// The text with all values in place. Fails if a name has no value, or a value no place.
pub fn filled(text: &str, values: &[(&str, &dyn Display)]) -> Result<String> {
    let mut filled = text.to_owned();
    for (name, value) in values {
        let place = format!("@{name}@");
        if !filled.contains(&place) {
            return Err(format!("the template has no {place}").into());
        }
        filled = filled.replace(&place, &value.to_string());
    }
    let left = filled
        .split('@')
        .skip(1)
        .step_by(2)
        .find(|name| !name.contains(char::is_whitespace));
    match left {
        Some(name) => Err(format!("the template's @{name}@ has no value").into()),
        None => Ok(filled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_needs_a_value_and_every_value_a_place() {
        let text = "bind @listen@ and @listen@, @slots@";
        let filled_in = filled(text, &[("listen", &"a:1"), ("slots", &4)]).expect("complete");
        assert_eq!(filled_in, "bind a:1 and a:1, 4");
        assert!(filled(text, &[("listen", &1)]).is_err(), "slots has no value");
        assert!(filled("none", &[("listen", &1)]).is_err(), "listen has no place");
    }
}
