//! Whole `tiers.yaml` texts, section by section. What stands within the braces of an entry is written as in a file.
//!
//! Sections always come in the same order, an entry a line, so that tests may edit a text by replacing words of it.

use std::fmt::{Display, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Where both listeners listen: on free ports.
const FREE: &str = "127.0.0.1:0";

/// The file, with other words in the braces of `admin`.
pub fn with_admin(yaml: &str, text: impl Display) -> String {
    let (old, new) = (format!("admin: {{ listen: {FREE} }}"), format!("admin: {{ {text} }}"));
    assert!(yaml.contains(&old), "it says something else already");
    yaml.replace(&old, &new)
}

/// The file, in which the operator's token stands in that other file.
pub fn with_token_file(yaml: &str, file: &Path) -> String {
    with_admin(yaml, format_args!("listen: {FREE}, token_file: {}", file.display()))
}

/// The file, in which clients are listened to at that address.
pub fn with_listen(yaml: &str, address: SocketAddr) -> String {
    yaml.replacen(&format!("listen: {FREE}"), &format!("listen: {address}"), 1)
}

/// A file with free ports and nothing else as yet.
pub fn yaml() -> Yaml {
    Yaml::default()
}

/// A file that is being written.
#[derive(Clone, Debug, Default)]
pub struct Yaml {
    settings: String,
    queue: String,
    tiers: String,
    anonymous: String,
    keys: String,
    accounts: String,
    limits: String,
    upstreams: String,
    routes: String,
    more: String,
}

impl Yaml {
    /// A setting of the top level, such as `cores: 1`.
    pub fn setting(mut self, line: impl Display) -> Self {
        line_to(&mut self.settings, line);
        self
    }

    /// `length: 8`, and what else is said of the queue.
    pub fn queue(mut self, text: impl Display) -> Self {
        line_to(&mut self.queue, format_args!("queue: {{ {text} }}"));
        self
    }

    /// Another tier. The first one is that of callers without an account, unless [`Self::anonymous`] says otherwise.
    pub fn tier(mut self, name: &str, terms: impl Display) -> Self {
        if self.anonymous.is_empty() {
            name.clone_into(&mut self.anonymous);
        }
        line_to(&mut self.tiers, format_args!("  {}: {{ {terms} }}", quoted(name)));
        self
    }

    pub fn anonymous(mut self, tier: &str) -> Self {
        tier.clone_into(&mut self.anonymous);
        self
    }

    /// Where clients show their keys.
    pub fn keys(mut self, text: impl Display) -> Self {
        line_to(&mut self.keys, format_args!("keys: {{ {text} }}"));
        self
    }

    /// Another account, with these keys.
    pub fn account(mut self, name: &str, tier: &str, keys: &[&str]) -> Self {
        let hashes = match keys {
            [key] => hash(key),
            keys => format!("[{}]", joined(keys.iter().map(|key| hash(key)))),
        };
        let tier = quoted(tier);
        line_to(
            &mut self.accounts,
            format_args!("  - {{ name: {name}, tier: {tier}, key_sha256: {hashes} }}"),
        );
        self
    }

    /// Another request limit.
    pub fn limit(mut self, text: impl Display) -> Self {
        line_to(&mut self.limits, format_args!("  - {{ {text} }}"));
        self
    }

    /// Another upstream, of servers of so many slots each. `more` begins with a comma, if it isn't empty.
    pub fn upstream(mut self, name: &str, servers: &[(SocketAddr, u32)], more: impl Display) -> Self {
        let server = |(address, slots): &(SocketAddr, u32)| format!("{{ url: \"http://{address}\", slots: {slots} }}");
        let servers = joined(servers.iter().map(server));
        line_to(
            &mut self.upstreams,
            format_args!("  {name}: {{ servers: [ {servers} ]{more} }}"),
        );
        self
    }

    /// Another route.
    pub fn route(mut self, text: impl Display) -> Self {
        line_to(&mut self.routes, format_args!("  - {{ {text} }}"));
        self
    }

    /// `/search`, which is metered, and `/image/` lead to the upstream `search`. `more` is said of the former and begins with a comma,
    /// if it isn't empty.
    pub fn search_and_images(self, more: impl Display) -> Self {
        self.route(format_args!("path: /search, upstream: search, metered: true{more}"))
            .route("path: \"/image/{*rest}\", upstream: search")
    }

    /// Other sections, as they are.
    pub fn more(mut self, text: impl Display) -> Self {
        line_to(&mut self.more, text);
        self
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = format!("listen: {FREE}\nadmin: {{ listen: {FREE} }}\n");
        text.push_str(&self.settings);
        text.push_str(&self.queue);
        let anonymous = format!("anonymous: {}\n", quoted(&self.anonymous));
        for (head, section) in [
            ("tiers:\n", &self.tiers),
            ("", &anonymous),
            ("", &self.keys),
            ("accounts:\n", &self.accounts),
            ("limits:\n", &self.limits),
            ("upstreams:\n", &self.upstreams),
            ("routes:\n", &self.routes),
            ("", &self.more),
        ] {
            if !section.is_empty() {
                text.push_str(head);
                text.push_str(section);
            }
        }
        text
    }
}

fn line_to(section: &mut String, line: impl Display) {
    writeln!(section, "{line}").expect("a String takes all");
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// The name, in quotes if it needs them.
fn quoted(name: &str) -> String {
    if name.starts_with('$') {
        format!("\"{name}\"")
    } else {
        name.to_owned()
    }
}

/// SHA-256 of a key, as tiers.yaml has it.
pub fn hash(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The seven tiers, one account of each paid one with the key `key-PRICE`, and one upstream with the given servers
/// (address and slots). `more` is added at the top level and may not repeat a section.
pub fn seven_tiers(places: u32, servers: &[(SocketAddr, u32)], more: &str) -> String {
    let yaml = yaml()
        .setting("cores: 2")
        .setting("drain_timeout: 10s")
        .queue(format_args!("length: {places}, max_wait: 30s"))
        .keys("headers: [x-api-key, x-trace-key], bearer: true, query: key");
    let tiers = [
        ("free", 0, 1, 100),
        ("$1", 2, 1, 100),
        ("$5", 2, 1, 500),
        ("$10", 5, 1, 1_000),
        ("$20", 5, 2, 2_000),
        ("$50", 5, 3, 5_000),
        ("$100", 6, 4, 10_000),
    ];
    let with_tiers = tiers.iter().fold(yaml, |yaml, (name, priority, concurrency, limit)| {
        let quota = format!("quota: {{ limit: {limit}, rolling: 24h }}");
        yaml.tier(
            name,
            format_args!("priority: {priority}, concurrency: {concurrency}, {quota}"),
        )
    });
    let paid = tiers.iter().filter_map(|(name, ..)| name.strip_prefix('$'));
    let with_accounts = paid.fold(with_tiers, |yaml, price| {
        yaml.account(&format!("a{price}"), &format!("${price}"), &[&format!("key-{price}")])
    });
    with_accounts
        .upstream("search", servers, ", connect_timeout: 2s, timeout: 20s")
        .search_and_images(", max_body: 25MiB")
        .more(more)
        .text()
}

/// A file whose tiers are `p0` to `p6`, each of that priority and on the same terms, with one account each
/// whose key is the tier's name. Without a key one is a network of tier `p0`. The texts are added to the file's sections.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// With one, all jobs share the connections to the servers.
    pub cores: u32,
    pub queue_length: u32,
    /// Address and slots.
    pub servers: &'a [(SocketAddr, u32)],
    pub queue: &'a str,
    /// Of every tier, beside its priority.
    pub tier: &'a str,
    pub upstream: &'a str,
    pub route: &'a str,
    pub more: &'a str,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self {
            cores: 2,
            queue_length: 8,
            servers: &[],
            queue: "max_wait: 30s",
            tier: "concurrency: 64",
            upstream: "timeout: 20s",
            route: "max_body: 25MiB",
            more: "drain_timeout: 100ms",
        }
    }
}

impl Plan<'_> {
    pub fn yaml(&self) -> String {
        self.without_upstreams()
            .upstream("search", self.servers, format_args!(", {}", self.upstream))
            .search_and_images(format_args!(", {}", self.route))
            .more(self.more)
            .text()
    }

    /// The file without upstreams, routes and what comes after them.
    pub fn without_upstreams(&self) -> Yaml {
        let yaml = yaml()
            .setting(format_args!("cores: {}", self.cores))
            .queue(format_args!("length: {}, {}", self.queue_length, self.queue));
        (0..=6).fold(yaml, |yaml, priority| {
            let name = format!("p{priority}");
            yaml.tier(&name, format_args!("priority: {priority}, {}", self.tier))
                .account(&name, &name, &[&name])
        })
    }
}
