//! Colours and emphasis. Whatever a colour says, a digit, a word or a sign says too.

use ratatui::style::{Color, Modifier, Style};

use crate::cli::status::places::{COLOURS, Mark};

/// With or without colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    is_coloured: bool,
}

impl Theme {
    /// Without colours if that variable (`NO_COLOR`) is set and not empty: <https://no-color.org>.
    pub fn of(no_color: Option<&str>) -> Self {
        Self {
            is_coloured: no_color.unwrap_or_default().is_empty(),
        }
    }

    fn coloured(self, colour: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.is_coloured { style.fg(colour) } else { style }
    }

    /// Places of the queue.
    pub fn place(self, mark: Mark) -> Style {
        match mark {
            Mark::Taken(_) if !self.is_coloured => Style::new().add_modifier(Modifier::REVERSED),
            Mark::Taken(priority) => {
                let (ground, digit) = COLOURS.get(usize::from(priority)).copied().unwrap_or((254, 16));
                Style::new().bg(Color::Indexed(ground)).fg(Color::Indexed(digit))
            }
            Mark::Free => self.quiet(),
            Mark::Words => Style::new(),
        }
    }

    /// All is well.
    pub fn good(self) -> Style {
        self.coloured(Color::Green, Modifier::empty())
    }

    /// Something is wrong.
    pub fn bad(self) -> Style {
        self.coloured(Color::Red, Modifier::BOLD)
    }

    /// What is less important.
    pub fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Headings.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The heading of the table that the keys are for.
    pub fn focus(self) -> Style {
        self.coloured(Color::Cyan, Modifier::BOLD)
    }

    /// The line of keys.
    pub fn keys(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}
