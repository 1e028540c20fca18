//! The page with the first state in it: what status.js draws later, in the same words and elements.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::headline::{grouped, roughly};
use super::live::{AdmissionLine, How, Live, UpstreamLine};
use super::traffic::{Data, GROUPS, Held, PERIODS, Shown as Period, Traffic};
use super::{Look, Shown, StatusPaths};
use crate::gate::PLACES_DRAWN_MAX;
use crate::web::{self, escaped};

/// The page as it is at that look, with that period of the past.
pub fn page(shown: &Shown, paths: &StatusPaths, look: &Look, held: &Held, period: usize) -> String {
    let live = &look.live;
    let (of, traffic) = (&PERIODS[period], held.0[period].as_deref());
    let several = live.upstreams.len() > 1;
    web::fill(web::STATUS_HTML, |name| {
        Some(match name {
            "title" => format!("{}/{} places · queue status", live.queue.taken, live.queue.length),
            "assets" => paths.assets.clone(),
            "headline" => headline(live),
            "lede" => escaped(&live.headline.text).into_owned(),
            "taken" => format!(
                "{} of {} taken",
                live.queue.taken,
                counted(live.queue.length.into(), "place")
            ),
            "places" => places(live, look.wall_s),
            "busy" => busy(live),
            "pools" => live.upstreams.iter().map(|of| pool(of, several)).collect(),
            "now" => live.upstreams.iter().map(|of| admission(of, several)).collect(),
            "yours" => shown.me.as_ref().map_or_else(String::new, |me| yours(me)),
            "periods" => periods(paths, of),
            "stats" => stats(live, traffic),
            "unit" => of.unit.to_owned(),
            "table" => table(of, traffic),
            "refused" => traffic.map_or_else(String::new, |of| grouped(of.data.turned_away())),
            "why" => why(traffic),
            "percentiles" => percentiles(traffic),
            "json" => paths.json.clone(),
            "version" => env!("CARGO_PKG_VERSION").to_owned(),
            "state" => state(shown, paths, &look.json, held),
            name => return web::STATUS.value(name),
        })
    })
}

/// What the script begins with.
fn state(shown: &Shown, paths: &StatusPaths, json: &str, held: &Held) -> String {
    let paths = serde_json::json!({
        "json": paths.json,
        "events": paths.events,
        "me": shown.me,
        "key": shown.key,
    });
    let traffic = held.json();
    web::json_in_script(&format!("{{\"paths\":{paths},\"now\":{json},\"traffic\":{traffic}}}"))
}

fn icon(name: &str) -> String {
    format!("<svg class=\"icon\" aria-hidden=\"true\"><use href=\"#i-{name}\"/></svg>")
}

fn sign(kind: &str, text: &str) -> String {
    format!(
        "<span class=\"sign {kind}\">{}<span>{}</span></span>",
        icon(kind),
        escaped(text)
    )
}

fn square(priority: u8) -> String {
    format!("<b class=\"p\" data-p=\"{priority}\">{priority}</b>")
}

fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A measured time.
fn time(ms: u32) -> String {
    let seconds = f64::from(ms) / 1e3;
    match ms {
        0..100 => format!("{ms} ms"),
        100..9_950 => format!("{seconds:.1} s"),
        9_950..99_500 => format!("{seconds:.0} s"),
        _ => format!("{:.0} min", seconds / 60.0),
    }
}

fn headline(live: &Live) -> String {
    let kind = live.headline.state.name();
    let title = escaped(&live.headline.title);
    format!("<span class=\"sign {kind}\">{}</span><span>{title}</span>", icon(kind))
}

fn busy(live: &Live) -> String {
    let sum = |of: fn(&UpstreamLine) -> u32| live.upstreams.iter().map(|line| u64::from(of(line))).sum::<u64>();
    format!(
        "{} of {} busy",
        grouped(sum(|line| line.busy)),
        grouped(sum(|line| line.available))
    )
}

fn places(live: &Live, now_s: u64) -> String {
    let (queue, drawn) = (&live.queue, live.queue.length.max(live.queue.taken));
    if drawn == 0 {
        return "<p class=\"dim xs\">There is nowhere to wait: a request gets a slot at once, or none.</p>".to_owned();
    }
    let Some(taken) = queue.places.as_ref().filter(|_| drawn <= PLACES_DRAWN_MAX) else {
        return lanes(live, drawn);
    };
    let size = match drawn {
        0..=8 => "",
        9..=16 => " medium",
        _ => " small",
    };
    let columns = drawn.clamp(1, 16);
    let mut out = format!("<ol class=\"places{size}\" data-cols=\"{columns}\" aria-labelledby=\"h-places\">");
    for place in taken {
        let (id, priority, age) = (place.id, place.priority, age(now_s.saturating_sub(place.since_s)));
        write_to(
            &mut out,
            format_args!(
                "<li class=\"place\" data-id=\"{id}\" data-p=\"{priority}\"><span class=\"sr\">priority</span>\
                 <b>{priority}</b><span class=\"sr\">, waiting</span><span class=\"age\">{age}</span></li>"
            ),
        );
    }
    for _ in queue.taken..queue.length {
        out.push_str("<li class=\"place free\"><span class=\"sr\">free</span></li>");
    }
    out.push_str("</ol><p class=\"rail\"><span>← next to be served</span><span>first to be displaced →</span></p>");
    out
}

/// How long a place is taken.
fn age(seconds: u64) -> String {
    match seconds {
        0 => "new".to_owned(),
        1..100 => format!("{seconds} s"),
        _ => format!("{} min", seconds / 60),
    }
}

/// A long queue: a bar for each priority.
fn lanes(live: &Live, drawn: u32) -> String {
    let lane = |(&priority, &taken): (&u8, &u32)| {
        let share = f64::from(taken) / f64::from(drawn.max(1)) * 100.0;
        let share = if taken > 0 { share.max(0.4) } else { 0.0 };
        let square = square(priority);
        format!(
            "<tr><th scope=\"row\">{square}</th><td><svg class=\"fill\" aria-hidden=\"true\"><rect data-p=\"{priority}\" \
             width=\"{share:.1}%\" rx=\"6\"/></svg></td><td class=\"num\">{}</td></tr>",
            grouped(taken.into())
        )
    };
    let lanes: String = live.queue.by_priority.iter().rev().map(lane).collect();
    format!(
        "<table class=\"lanes\" aria-labelledby=\"h-places\"><thead class=\"sr\"><tr><th scope=\"col\">Priority</th>\
         <th scope=\"col\">Share of the queue</th><th scope=\"col\">Requests</th></tr></thead><tbody>{lanes}</tbody></table>"
    )
}

fn routes(of: &UpstreamLine) -> String {
    let routes = of.routes.iter().map(|route| format!("<code>{}</code>", escaped(route)));
    routes.collect::<Vec<_>>().join(" ")
}

fn pool(of: &UpstreamLine, several: bool) -> String {
    let name = if several {
        format!(
            "<p class=\"name\">{}<span>{} of {}</span></p>",
            routes(of),
            of.busy,
            of.available
        )
    } else {
        String::new()
    };
    let down = of.slots.saturating_sub(of.available.max(of.busy));
    let note = match down {
        _ if of.available == 0 => sign("bad", "No upstream server is up"),
        0 => String::new(),
        _ => sign("warn", &format!("{} not available", counted(down.into(), "slot"))),
    };
    format!("<div>{name}{}{note}</div>", slots(of, down))
}

fn slots(of: &UpstreamLine, gone: u32) -> String {
    let mut all: Vec<String> = match &of.running {
        Some(running) => running
            .iter()
            .map(|slot| {
                let priority = slot.priority;
                format!("<li class=\"slot\" data-p=\"{priority}\"><span class=\"sr\">priority</span>{priority}</li>")
            })
            .collect(),
        None => (0..of.busy.min(PLACES_DRAWN_MAX))
            .map(|_| plain_slot("busy", "busy"))
            .collect(),
    };
    let left = |all: &Vec<String>| (PLACES_DRAWN_MAX as usize).saturating_sub(all.len());
    let free = of.available.saturating_sub(of.busy) as usize;
    all.extend((0..free.min(left(&all))).map(|_| plain_slot("free", "free")));
    all.extend((0..(gone as usize).min(left(&all))).map(|_| plain_slot("gone", "not available")));
    all.truncate(PLACES_DRAWN_MAX as usize);
    let more = of.slots.max(of.busy).saturating_sub(PLACES_DRAWN_MAX);
    let more = if more > 0 {
        format!("<p class=\"xs dim\">and {more} more</p>")
    } else {
        String::new()
    };
    let size = match all.len() {
        0..=4 => " few",
        5..=24 => "",
        _ => " many",
    };
    let label = escaped(&of.routes.join(", ")).into_owned();
    format!(
        "<ul class=\"slots{size}\" aria-label=\"Slots of {label}\">{}</ul>{more}",
        all.concat()
    )
}

fn plain_slot(kind: &str, text: &str) -> String {
    format!("<li class=\"slot {kind}\"><span class=\"sr\">{text}</span></li>")
}

fn admission(of: &UpstreamLine, several: bool) -> String {
    let caption = if several {
        format!("<caption>{}</caption>", routes(of))
    } else {
        String::new()
    };
    let rows: String = of.admission.iter().map(admission_row).collect();
    format!(
        "<div class=\"pool\"><table aria-labelledby=\"h-now\">{caption}<thead><tr><th scope=\"col\">Priority</th>\
         <th scope=\"col\">Tiers</th><th scope=\"col\">Would you get in?</th><th scope=\"col\" class=\"num\">Expected wait</th>\
         </tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

fn admission_row(line: &AdmissionLine) -> String {
    let tiers: String = line
        .tiers
        .iter()
        .map(|tier| format!("<span>{}</span>", escaped(tier)))
        .collect();
    let in_tier = escaped(&line.tiers.join(" ")).into_owned();
    let answer = if line.admitted {
        sign("ok", "Yes")
    } else {
        sign("bad", "No")
    };
    let how = match (line.how, line.displaces) {
        (How::Slot, _) => "gets a slot at once".to_owned(),
        (How::Place, _) => "takes a free place".to_owned(),
        (How::Displaces, of) => format!("displaces a\u{a0}{}", of.unwrap_or_default()),
        (How::Full, _) => "no place to take".to_owned(),
        (How::Closed, _) => "shutting down".to_owned(),
        (How::Stopped, _) => "closed to new requests".to_owned(),
        (How::Unavailable, _) => "usage can&#39;t be recorded".to_owned(),
    };
    let wait = match line.wait_s {
        None => "<small>not known now</small>".to_owned(),
        wait if !line.admitted => format!("<small>try again in</small>{}", roughly(wait)),
        Some(0.0) => "none".to_owned(),
        wait if wait >= Some(1.0) => format!("≈ {}", roughly(wait)),
        wait => roughly(wait),
    };
    let priority = line.priority;
    format!(
        "<tr data-admits=\"{priority}\"><th scope=\"row\">{}</th><td class=\"tiers\">{tiers}</td><td>{answer} \
         <span class=\"how\"><span class=\"in-tier\">{in_tier} · </span>{how}</span></td>\
         <td class=\"num wait nowrap\">{wait}</td></tr>",
        square(priority)
    )
}

/// The panel in which a viewer types its key. It needs the script.
fn yours(me: &str) -> String {
    format!(
        "<section class=\"panel yours script\" aria-labelledby=\"h-yours\"><header><h2 id=\"h-yours\">Your place</h2>\
         <button class=\"btn quiet small\" id=\"forget\" type=\"button\" hidden>Forget key</button></header>\
         <div class=\"body\"><div class=\"mine\" id=\"mine\"><span class=\"skel m\"></span></div>\
         <form id=\"keyform\"><label for=\"key\">Have an API key?</label><div class=\"in\"><input class=\"field\" id=\"key\" \
         type=\"password\" autocomplete=\"off\" spellcheck=\"false\" aria-describedby=\"keyhint\">\
         <button class=\"btn primary\" type=\"submit\">Show</button></div>\
         <p class=\"dim xs\" id=\"keyhint\">Forgotten when you leave the page. Sent only to <code>{}</code>.</p></form>\
         <p class=\"err\" id=\"keyerr\" role=\"alert\"></p></div></section>",
        escaped(me)
    )
}

fn periods(paths: &StatusPaths, of: &Period) -> String {
    let link = |period: &Period| {
        let current = if period.name == of.name {
            " aria-current=\"page\""
        } else {
            ""
        };
        format!(
            "<a href=\"{}?period={}\"{current}>{}</a>",
            paths.page, period.name, period.title
        )
    };
    PERIODS.iter().map(link).collect()
}

fn stats(live: &Live, traffic: Option<&Traffic>) -> String {
    let Some(data) = traffic.map(|traffic| &traffic.data) else {
        return "<div><dt>Traffic</dt><dd><small>can&#39;t be read now</small></dd></div>".to_owned();
    };
    let (served, out) = (data.served.iter().sum::<u64>(), data.turned_away());
    let share = match served + out {
        0 => "–".to_owned(),
        all => format!("{:.1} %", out as f64 / all as f64 * 100.0),
    };
    let median = data
        .percentiles_ms
        .as_ref()
        .and_then(|all| all.get("p50"))
        .map_or_else(|| "–".to_owned(), |ms| time(*ms));
    let mean = data.places_mean();
    let mean = if mean < 10.0 {
        format!("{mean:.1}")
    } else {
        format!("{mean:.0}")
    };
    let out = if out > 0 { grouped(out) } else { String::new() };
    let of_queue = format!("of {}, average", grouped(live.queue.length.into()));
    let cards = [
        ("Served", grouped(served), String::new()),
        ("Turned away", share, out),
        ("Median search", median, String::new()),
        ("Places taken", mean, of_queue),
    ];
    let card = |(name, value, more)| format!("<div><dt>{name}</dt><dd>{value} <small>{more}</small></dd></div>");
    cards.map(card).concat()
}

fn why(traffic: Option<&Traffic>) -> String {
    let reasons = traffic.map_or(&[][..], |traffic| &traffic.data.reasons);
    let most = reasons.iter().map(|line| line.count).max().unwrap_or(1).max(1);
    if reasons.is_empty() {
        return "<tr><td colspan=\"2\" class=\"dim\">Nobody was turned away.</td></tr>".to_owned();
    }
    let row = |line: &super::traffic::ReasonLine| {
        let (group, reason, status) = (line.group, escaped(&line.reason), line.status);
        let share = line.count as f64 / most as f64 * 100.0;
        format!(
            "<tr><th scope=\"row\"><span class=\"r\"><i class=\"f-{group}\"></i><code>{reason}</code> \
             <span class=\"st\">{status}</span></span><svg class=\"fill thin\" aria-hidden=\"true\">\
             <rect class=\"f-{group}\" width=\"{share:.1}%\" rx=\"2\"/></svg></th>\
             <td class=\"num\"><b>{}</b></td></tr>",
            grouped(line.count)
        )
    };
    reasons.iter().map(row).collect()
}

fn percentiles(traffic: Option<&Traffic>) -> String {
    let all = traffic.and_then(|traffic| traffic.data.percentiles_ms.as_ref());
    let names = ["p0", "p10", "p25", "p50", "p75", "p90", "p100"];
    let cell = |name: &str| {
        let value = all
            .and_then(|all| all.get(name))
            .map_or_else(|| "–".to_owned(), |ms| time(*ms));
        let class = if name == "p50" { " class=\"mid\"" } else { "" };
        format!("<div{class}><dt>{name}</dt><dd>{value}</dd></div>")
    };
    names.map(cell).concat()
}

/// The rows that the chart shows, latest first, in UTC.
fn table(period: &Period, traffic: Option<&Traffic>) -> String {
    let Some(data) = traffic.map(|traffic| &traffic.data) else {
        return "<p>It can&#39;t be read now.</p>".to_owned();
    };
    let heads: String = GROUPS
        .iter()
        .map(|(_, title)| format!("<th scope=\"col\" class=\"num\">{title}</th>"))
        .collect();
    let mut out = format!(
        "<table><thead><tr><th scope=\"col\">Time, UTC</th><th scope=\"col\" class=\"num\">Served</th>{heads}</tr></thead><tbody>"
    );
    for at in (0..data.served.len()).rev() {
        write_to(
            &mut out,
            format_args!("<tr><th scope=\"row\">{}</th>", row_time(period, data, at)),
        );
        let groups = GROUPS
            .iter()
            .map(|(name, _)| data.groups.get(name).map_or(0, |counts| counts[at]));
        for count in std::iter::once(data.served[at]).chain(groups) {
            write_to(&mut out, format_args!("<td class=\"num\">{}</td>", grouped(count)));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table>");
    out
}

fn row_time(period: &Period, data: &Data, at: usize) -> String {
    let seconds = data.first_s + at as u64 * period.step_s;
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    let format = match period.step_s {
        60 => "%H:%M",
        3_600 => "%a %H:%M",
        _ => "%b %-d",
    };
    time.map_or_else(String::new, |time| time.strftime(format).to_string())
}

fn write_to(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes all");
}
