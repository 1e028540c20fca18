//! The files of tiergate's own pages: written by hand, embedded in the program, and named by their content, so that browsers may
//! keep them for ever.
//!
//! `tokens.css`, `parts.css`, `base.js` and `queue.js` are shared by all pages. The shared style is one file, and a page's own
//! style and its script are one each.

use std::borrow::Cow;
use std::sync::LazyLock;

/// What a page may load: its own files, and nothing else. Nothing inline is run.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How long browsers keep an asset. Another content has another name.
pub const CACHE_FOR_EVER: &str = "public, max-age=31536000, immutable";

/// The symbols that pages refer to as `#i-NAME`.
pub const ICONS: &str = include_str!("icons.svg");

/// The status page, with places for what [`fill`] puts there.
pub const STATUS_HTML: &str = include_str!("status.html");

/// The operator's page, with places for what [`fill`] puts there.
pub const OPERATOR_HTML: &str = include_str!("operator.html");

/// Puts the shared parts before a page's own.
macro_rules! script {
    ($($own:literal),+) => {
        concat!(
            include_str!("base.js"),
            include_str!("queue.js"),
            $(include_str!($own)),+
        )
    };
}

/// The assets of the status page.
pub static STATUS: LazyLock<Assets> = LazyLock::new(|| {
    Assets::of(
        "status",
        concat!(include_str!("charts.css"), include_str!("status.css")),
        script!("charts.js", "traffic.js", "yours.js", "status.js"),
    )
});

/// The assets of the operator's page.
pub static OPERATOR: LazyLock<Assets> = LazyLock::new(|| {
    Assets::of(
        "operator",
        include_str!("operator.css"),
        script!(
            "operator/session.js",
            "operator/overview.js",
            "operator/lists.js",
            "operator/accounts.js",
            "operator/networks.js",
            "operator/actions.js",
            "operator/main.js"
        ),
    )
});

/// A page's assets.
#[derive(Debug)]
pub struct Assets {
    /// The style that all pages share.
    pub shared: Asset,
    /// Its own style.
    pub css: Asset,
    /// Its script, a module.
    pub js: Asset,
    /// Its icon.
    pub icon: Asset,
}

impl Assets {
    fn of(page: &str, css: &str, js: &str) -> Self {
        const CSS: &str = "text/css; charset=utf-8";
        let shared = concat!(include_str!("tokens.css"), include_str!("parts.css"));
        Self {
            shared: Asset::new("shared", "css", CSS, shared),
            css: Asset::new(page, "css", CSS, css),
            js: Asset::new(page, "js", "text/javascript; charset=utf-8", js),
            icon: Asset::new("icon", "svg", "image/svg+xml", include_str!("icon.svg")),
        }
    }

    /// All of them.
    pub fn all(&self) -> [&Asset; 4] {
        [&self.shared, &self.css, &self.js, &self.icon]
    }

    /// What a page's template asks for; `None` if it is something else.
    pub fn value(&self, name: &str) -> Option<String> {
        Some(match name {
            "shared" => self.shared.name.clone(),
            "css" => self.css.name.clone(),
            "js" => self.js.name.clone(),
            "icon" => self.icon.name.clone(),
            "icons" => ICONS.to_owned(),
            _ => return None,
        })
    }
}

/// A file that a page loads.
#[derive(Debug)]
pub struct Asset {
    /// Its name, with a hash of its content.
    pub name: String,
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub text: String,
}

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, text: &str) -> Self {
        let text = match extension {
            "css" => lean_css(&lean(text)),
            _ => lean(text),
        };
        Self {
            name: format!("{stem}.{:016x}.{extension}", fnv1a(&text)),
            content_type,
            text,
        }
    }
}

/// The text without indentation, blank lines and the comments that have lines of their own.
fn lean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_comment = false;
    for line in text.lines().map(str::trim) {
        let begins = line.starts_with("/*");
        // What follows a comment on its line is no comment.
        let ends = line.ends_with("*/");
        let is_code = !in_comment && !(begins && (ends || !line.contains("*/"))) && !line.starts_with("//");
        if is_code && !line.is_empty() {
            out.push_str(line);
            out.push('\n');
        }
        in_comment = (in_comment || begins) && !line.contains("*/");
    }
    out
}

/// The style without spaces beside its marks. None of ours stands in a string.
fn lean_css(text: &str) -> String {
    let marks = [
        ("{ ", "{"),
        (" {", "{"),
        ("; ", ";"),
        (": ", ":"),
        (" }", "}"),
        (";}", "}"),
        (", ", ","),
    ];
    marks
        .into_iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// FNV-1a, 64 bits: tells one version of a file from another, and guards against nobody.
fn fnv1a(text: &str) -> u64 {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The text with what has a meaning in HTML escaped, for content and for quoted attributes.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// JSON as the content of a `script` element: no `<` ends the element, or begins a comment in it.
pub fn json_in_script(json: &str) -> String {
    json.replace('<', "\\u003c")
}

/// The template with each `{{name}}` replaced. What is put there is not looked at again.
///
/// # Panics
/// If the template has a place for which `value` has nothing: templates are part of the program.
pub fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("each place of a template ends");
        out.push_str(before);
        out.push_str(&value(name).unwrap_or_else(|| panic!("the template asks for {name}")));
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Whatever a browser loads of both pages, without what the server writes into them. What they share is one file.
    #[test]
    fn both_pages_are_small() {
        let all = STATUS.all().into_iter().chain(OPERATOR.all());
        let files: BTreeMap<&str, usize> = all.map(|asset| (&*asset.name, asset.text.len())).collect();
        assert_eq!(files.len(), 6, "the style and the icon are shared");
        let pages = [STATUS_HTML, OPERATOR_HTML].map(|html| html.len() + ICONS.len());
        let bytes = files.values().sum::<usize>() + pages.iter().sum::<usize>();
        assert!(bytes < 150_000, "{bytes} bytes: {files:?}");
    }

    #[test]
    fn comments_and_indentation_are_not_sent() {
        let text = "// a\n  b; // c\n/* d */\n/** e\n * f\n */\n  g\n\n/* h */ i\n";
        assert_eq!(lean(text), "b; // c\ng\n/* h */ i\n");
        let css = "a, b :hover { margin: 0 calc(1px + 2px); color: red; }\n";
        assert_eq!(lean_css(css), "a,b :hover{margin:0 calc(1px + 2px);color:red}\n");
    }

    #[test]
    fn an_asset_is_named_by_its_content() {
        let [one, other] = ["a", "b"].map(|text| Asset::new("x", "js", "", text).name);
        assert_eq!(one, "x.089bdc07b544e7b2.js");
        assert_ne!(one, other);
    }

    #[test]
    fn names_are_text_wherever_they_stand() {
        assert_eq!(escaped("$20"), "$20");
        let hostile = r#"</script><img src=x onerror='a&b' alt="">"#;
        let safe = "&lt;/script&gt;&lt;img src=x onerror=&#39;a&amp;b&#39; alt=&quot;&quot;&gt;";
        assert_eq!(escaped(hostile), safe);
        assert!(!json_in_script(hostile).contains('<'));
    }

    #[test]
    fn a_template_is_filled_once() {
        let value = |name: &str| (name == "a").then(|| "{{b}}".to_owned());
        assert_eq!(fill("1 {{a}} 2 {{a}}", value), "1 {{b}} 2 {{b}}");
    }

    /// The policy forbids what is inline, so a page may have none of it.
    #[test]
    fn nothing_is_inline() {
        let scripts = [&STATUS, &OPERATOR].map(|assets| &*assets.js.text);
        for text in [STATUS_HTML, OPERATOR_HTML, ICONS].into_iter().chain(scripts) {
            assert!(!text.contains("style="), "an inline style");
            assert!(
                !text.contains("onclick") && !text.contains("javascript:"),
                "an inline script"
            );
        }
        for html in [STATUS_HTML, OPERATOR_HTML] {
            assert!(!html.contains("<style") && !html.contains("<script>"));
        }
    }
}
