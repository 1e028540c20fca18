//! Complete configurations that ship with the program, each with the rules of an existing system. They are in
//! `examples/presets/`.

use super::{Config, ConfigErrors};

/// A tiers.yaml that comes with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// What it is called.
    pub name: &'static str,
    /// What the file says.
    pub text: &'static str,
}

/// Makes a list of those that lie in the folder.
macro_rules! presets {
    ($($name:literal),*) => {
        [$(Preset { name: $name, text: include_str!(concat!("../../examples/presets/", $name, ".yaml")) }),*]
    };
}

/// All of them.
pub const PRESETS: [Preset; 5] = presets!["trace-moe", "shotit", "anilist", "amvstrm", "bags"];

impl Preset {
    /// The preset of that name.
    pub fn named(name: &str) -> Option<Self> {
        PRESETS.into_iter().find(|preset| preset.name == name)
    }

    /// What it says.
    ///
    /// # Errors
    /// None, or the program was built with a file that is wrong.
    pub fn config(&self) -> Result<Config, ConfigErrors> {
        Config::parse(&format!("{}.yaml", self.name), self.text.as_bytes())
    }
}
