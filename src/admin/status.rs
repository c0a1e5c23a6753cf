//! The status page for a browser: one page, without a script and without external resources.

use std::fmt::{self, Write as _};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode, header};
use tokio::time::timeout;

use super::answer;
use super::readiness::{ModelReadiness, Readiness};
use crate::calendar::format_rfc3339;
use crate::config::LedgerUrl;
use crate::gate::{BodySize, Gate};
use crate::ledger::State;
use crate::plural::Counted;
use crate::policy::Timestamp;
use crate::sha256::Sha256;
use crate::upstream::LiveChannel;

const HTML: &str = "text/html; charset=utf-8";
/// The maximum time to wait for the ledger. After that, the page says that the ledger does not answer.
const LEDGER_WITHIN: Duration = Duration::from_secs(2);

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
    padding:0 1rem;color:#1b1f24;background:#fff}h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
    table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .8rem .3rem 0;\
    border-bottom:1px solid #d8dee4;vertical-align:top}th{font-weight:600}\
    .ok{color:#116329}.warn{color:#7d4e00}.bad{color:#a40e26}\
    code{font-size:.9em;overflow-wrap:anywhere}\
    @media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#30363d}\
    .ok{color:#56d364}.warn{color:#e3b341}.bad{color:#ff7b72}}";

/// The page's Content-Security-Policy: only its own style, by its hash, may be loaded.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::of(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
});

/// A text escaped for HTML: whatever characters it contains, the page shows them as text.
struct Escaped<T>(T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Makes the status page.
pub(super) async fn page(gate: &Gate, started: Instant) -> Response<Vec<u8>> {
    let facts = Facts::of(gate, started.elapsed()).await;
    let mut response = answer(StatusCode::OK, HTML, &facts.to_string());
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    let fixed: [(HeaderName, &str); 3] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The facts that the page shows.
struct Facts {
    readiness: Readiness,
    uptime: Duration,
    now: Timestamp,
    hash: String,
    /// Whether the last attempt to load the configuration succeeded, and the time of the last success, in
    /// seconds since the epoch.
    loaded: (bool, u64),
    ledger: String,
    /// The numbers of jobs under way, of creates that wait for their channel, and of creates of unknown
    /// outcome; `None` if the ledger does not answer.
    jobs: Option<[u64; 3]>,
    uploads: usize,
    keys: usize,
    groups: usize,
    channels: Vec<ChannelFacts>,
}

struct ChannelFacts {
    name: String,
    address: String,
    state: &'static str,
    is_up: bool,
    reason: Option<&'static str>,
    until: Option<u64>,
    in_flight: usize,
}

impl ChannelFacts {
    fn of(channel: &LiveChannel, now: Timestamp) -> Self {
        let (spec, status) = (channel.spec(), channel.status(now));
        let address = channel.address().map(ToString::to_string);
        Self {
            name: spec.name.to_string(),
            address: address.unwrap_or_else(|| spec.url.text()),
            state: status.label,
            is_up: channel.is_up(now),
            reason: status.reason.map(|reason| reason.name()),
            until: status.until.map(Timestamp::seconds),
            in_flight: status.in_flight,
        }
    }
}

impl Facts {
    async fn of(gate: &Gate, uptime: Duration) -> Self {
        let (snapshot, now) = (gate.snapshot(), gate.now());
        let config = &snapshot.config;
        let readiness = Readiness::of(gate).await;
        let mut ledger = match &config.ledger {
            LedgerUrl::Memory => "in memory, gone with this process".to_owned(),
            LedgerUrl::Sqlite(path) => format!("SQLite, {}", path.display()),
            LedgerUrl::Postgres(_) => "PostgreSQL".to_owned(),
        };
        if let Some(bytes) = gate.ledger().wal_bytes() {
            ledger += &format!(", write-ahead log of {} KiB", bytes / 1024);
        }
        let open = timeout(LEDGER_WITHIN, gate.ledger().count_unresolved()).await;
        let jobs = open.ok().and_then(Result::ok).map(|open| {
            [State::Confirmed, State::Pending, State::Unknown].map(|state| {
                let of_state = open.iter().filter(|open| open.state == state);
                of_state.map(|open| open.count).sum()
            })
        });
        let channels = snapshot.channels.all().iter();
        Self {
            readiness,
            uptime,
            now,
            hash: config.hash.to_hex(),
            loaded: gate.metrics().config_status(),
            ledger,
            jobs,
            uploads: [BodySize::Small, BodySize::Large]
                .map(|size| gate.uploads_in_flight(size))
                .into_iter()
                .sum(),
            keys: config.keys.len(),
            groups: config.groups.len(),
            channels: channels
                .map(|channel| ChannelFacts::of(channel, now))
                .collect(),
        }
    }

    fn write_facts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row =
            |name: &str, value: &str| writeln!(f, "<tr><th>{name}</th><td>{value}</td></tr>");
        let mark = |class: &str, text: &dyn fmt::Display| {
            format!("<span class=\"{class}\">{}</span>", Escaped(text))
        };
        let state = match self.readiness.why_not() {
            None => mark("ok", &"ready"),
            Some(why) => mark("bad", &format!("not ready: {why}")),
        };
        row("State", &state)?;
        row("Version", env!("CARGO_PKG_VERSION"))?;
        row("Running for", &span(self.uptime))?;
        row(
            "Configuration",
            &format!("<code>{}</code>", Escaped(&self.hash)),
        )?;
        let (is_last, at) = self.loaded;
        let at = format!("loaded at {}", format_rfc3339(at));
        row(
            "Last reload",
            &match is_last {
                true => at,
                false => {
                    let failed = "the last attempt failed, and the log says why";
                    format!("{}; {at} and still in force", mark("bad", &failed))
                }
            },
        )?;
        let ledger = match &self.readiness.ledger {
            Ok(()) => mark("ok", &"works"),
            Err(why) => mark("bad", why),
        };
        row("Ledger", &format!("{ledger}: {}", Escaped(&self.ledger)))?;
        let [jobs, waiting, unknown] = match self.jobs {
            Some(counts) => counts.map(|count| count.to_string()),
            None => ["not known"; 3].map(str::to_owned),
        };
        row("Jobs under way", &jobs)?;
        row("Creates that wait for their channel", &waiting)?;
        row("Creates of unknown outcome", &unknown)?;
        row("Uploads under way", &self.uploads.to_string())?;
        let groups = Counted(self.groups as u64, "group");
        row("Keys", &format!("{} in {groups}", self.keys))
    }

    fn write_channels(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for channel in &self.channels {
            let class = match (channel.state, channel.is_up) {
                ("active", true) => "ok",
                (_, true) => "warn",
                (_, false) => "bad",
            };
            let reason = channel.reason.unwrap_or_default();
            let until = channel.until.map(format_rfc3339).unwrap_or_default();
            writeln!(
                f,
                "<tr><td>{}</td><td><code>{}</code></td><td class=\"{class}\">{}</td><td>{}</td>\
                 <td>{until}</td><td>{}</td></tr>",
                Escaped(&channel.name),
                Escaped(&channel.address),
                Escaped(channel.state),
                Escaped(reason),
                channel.in_flight,
            )?;
        }
        Ok(())
    }
}

/// Writes the page as HTML.
impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>Tollgate</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>Tollgate</h1>\n\
             <table id=\"gate\">\n"
        )?;
        self.write_facts(f)?;
        f.write_str(
            "</table>\n<h2>Channels</h2>\n<table id=\"channels\">\n<tr><th>Name</th><th>Address</th>\
             <th>State</th><th>Reason</th><th>Until</th><th>In flight</th></tr>\n",
        )?;
        self.write_channels(f)?;
        f.write_str(
            "</table>\n<h2>Models</h2>\n<table id=\"models\">\n<tr><th>Name</th><th>State</th></tr>\n",
        )?;
        for (name, model) in &self.readiness.models {
            let (class, state) = match model {
                ModelReadiness::Available => ("ok", "available"),
                ModelReadiness::Ejected => ("warn", model.text()),
                ModelReadiness::Closed => ("bad", model.text()),
            };
            let name = Escaped(name);
            writeln!(
                f,
                "<tr><td>{name}</td><td class=\"{class}\">{state}</td></tr>"
            )?;
        }
        let now = format_rfc3339(self.now.seconds());
        write!(f, "</table>\n<p>As of {now}.</p>\n</body>\n</html>\n")
    }
}

/// Formats a time span in its two largest units: `3 d 4 h`.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours) = (seconds / 86400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_page_shows_is_text_there() {
        let evil = "<script>alert('x')</script> & \"y\"";
        let escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;y&quot;";
        assert_eq!(Escaped(evil).to_string(), escaped);
        let facts = Facts {
            readiness: Readiness {
                stopping: false,
                ledger: Err(evil.into()),
                knows_jobs: false,
                channels: vec![],
                models: vec![(evil.into(), ModelReadiness::Available)],
            },
            uptime: Duration::from_secs(90_061),
            now: Timestamp(1_795_867_160_000),
            hash: evil.into(),
            loaded: (false, 1_795_867_000),
            ledger: evil.into(),
            jobs: None,
            uploads: 0,
            keys: 2,
            groups: 1,
            channels: vec![ChannelFacts {
                name: evil.into(),
                address: evil.into(),
                state: "resting",
                is_up: false,
                reason: Some("account"),
                until: Some(1_795_867_200),
                in_flight: 3,
            }],
        };
        let page = facts.to_string();
        assert!(
            !page.contains("<script") && !page.contains("alert('"),
            "{page}"
        );
        assert_eq!(page.matches(escaped).count(), 6, "{page}");
        assert!(
            page.contains("1 d 1 h") && page.contains("2026-11-28T12:00:00Z"),
            "{page}"
        );
    }

    #[test]
    fn spans_are_told_in_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (61, "1 min 1 s"),
            (3_660, "1 h 1 min"),
            (266_400, "3 d 2 h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
