//! Whatever is refused never becomes a complete create, wherever in the body it stands and
//! however the body is framed and cut.

use std::collections::BTreeSet;

use super::bodies::{self, Case};
use super::framings::CONTENT_TYPES;
use super::ledger::Watched;
use super::wire::{FRAMINGS, Framing, Sending, crumbs, every, id, record};
use crate::support::client::Request;
use crate::support::{BOUNDARY, KEY, Setup, Stand, form_type, plain_form};
use tollgate::mock::Outcome;

/// How what is wrong with a body reaches the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// At once with all before it.
    Whole,
    /// When the channel has heard of the request, if there is something before it.
    Apart,
    /// Then, and in crumbs.
    Crumbs,
}

const CUTS: [Cut; 3] = [Cut::Apart, Cut::Crumbs, Cut::Whole];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_bodies_over_http1() {
    refused(Setup::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_bodies_over_http2() {
    refused(Setup::default().http2_upstream()).await;
}

/// All cases; framings and cuts take turns unless all are asked for.
async fn refused(mut setup: Setup) {
    let ledger = Watched::new();
    setup.ledger = ledger.clone();
    let stand = setup.start().await;
    let cases = bodies::all();
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len());
    let thinned = every(9);
    let (mut sent, mut begun, mut turn) = (0, 0, 0);
    let mut wrong = BTreeSet::new();
    for case in &cases {
        let ways = FRAMINGS
            .iter()
            .flat_map(|framing| CUTS.map(|cut| (*framing, cut)));
        turn += 1;
        for (framing, cut) in ways.skip(turn % thinned).step_by(thinned) {
            sent += 1;
            match refuse(&stand, case, framing, cut).await {
                Ok(heard) => begun += u64::from(heard),
                Err(what) => drop(wrong.insert(what)),
            }
            let complete = stand.mock.stats().creates_complete;
            assert_eq!(complete, 0, "{} as {framing:?}, {cut:?}", case.name);
        }
        stand.mock.reset();
    }
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
    // Nothing of it was reserved, and nothing came to the channel late.
    assert_eq!(ledger.asked(), 0);
    accept(&stand).await;
    assert_eq!(stand.mock.stats().creates_complete, 1);
    assert!(begun > sent / 3, "{begun} of {sent} had begun");
}

/// Sends one, and says whether the channel heard of it, or what is wrong with the answer.
async fn refuse(stand: &Stand, case: &Case, framing: Framing, cut: Cut) -> Result<bool, String> {
    let what = format!("{} as {framing:?}, {cut:?}", case.name);
    let id = id();
    let request = Request::new("POST", "/v1/videos")
        .key(KEY)
        .header("Content-Type", &case.content_type)
        .header("X-Request-Id", &id);
    let (before, rest) = case.body.split_at(case.from);
    let sending = Sending::begin(stand, &request, framing, case.body.len()).await;
    let mut sending = sending.unwrap();
    match cut {
        Cut::Whole => sending.finish(stand, &case.body).await,
        Cut::Apart | Cut::Crumbs => {
            if !before.is_empty() {
                sending.push(before).await;
                sending.begun(stand).await;
            }
            let mut from = 0;
            if cut == Cut::Crumbs {
                for at in crumbs(framing, 0, rest.len()) {
                    sending.push(&rest[from..at]).await;
                    from = at;
                }
            }
            sending.finish(stand, &rest[from..]).await;
        }
    }
    let answer = sending.answer().await;
    let outcome = match &answer {
        Ok(answer) => (answer.status, answer.code()),
        Err(error) => return Err(format!("{what}: {error}")),
    };
    if outcome.0 != case.status || !case.code.split('|').any(|code| code == outcome.1) {
        return Err(format!("{what}: {outcome:?} for {}", case.code));
    }
    let record = record(stand, &id).await;
    if cut != Cut::Whole && case.begins {
        assert!(record.is_some(), "{what}: the channel heard nothing");
    }
    if let Some(record) = &record {
        assert_eq!(record.outcome, Outcome::Broken, "{what}");
        // Where no length is declared, nothing tells that a body that merely stops has
        // stopped: there the message's end is what is kept back.
        let declared = !matches!(
            framing,
            Framing::Chunked | Framing::Http2 { length: false, .. }
        );
        let max = case.body.len() as u64 - u64::from(declared);
        assert!(record.body_bytes <= max, "{what}: {record:?}");
    }
    Ok(record.is_some())
}

/// A create that is in order: it comes behind all that was sent before.
async fn accept(stand: &Stand) {
    let body = crate::support::client::Body::Length(plain_form(), vec![]);
    let answer = Request::create(&form_type(), body).send(stand.gate).await;
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_types_are_refused_before_any_channel_hears_of_them() {
    let stand = Stand::start().await;
    let body = plain_form();
    for (content_type, status) in CONTENT_TYPES {
        let content_type = content_type.replace("{b}", BOUNDARY);
        for framing in FRAMINGS {
            let request = Request::new("POST", "/v1/videos")
                .key(KEY)
                .header("Content-Type", &content_type);
            let sending = Sending::begin(&stand, &request, framing, body.len()).await;
            let mut sending = sending.unwrap();
            sending.finish(&stand, &body).await;
            let answer = sending.answer().await.unwrap();
            assert_eq!(answer.status, *status, "{content_type}: {answer:?}");
        }
    }
    for headers in [
        [
            ("Content-Type", form_type()),
            ("content-type", "application/json".into()),
        ],
        [("Content-Type", form_type()), ("content-type", form_type())],
        [
            ("Content-Type", form_type()),
            ("content-encoding", "gzip".into()),
        ],
        [
            ("Content-Type", form_type()),
            ("x-http-method-override", "GET".into()),
        ],
        [
            ("Content-Type", form_type()),
            ("expect", "the unexpected".into()),
        ],
        [
            ("Content-Type", form_type()),
            ("authorization", "Bearer other".into()),
        ],
    ] {
        for framing in FRAMINGS {
            let mut request = Request::new("POST", "/v1/videos").key(KEY);
            for (name, value) in &headers {
                request = request.header(name, value);
            }
            let sending = Sending::begin(&stand, &request, framing, body.len()).await;
            let mut sending = sending.unwrap();
            sending.finish(&stand, &body).await;
            let status = sending.answer().await.unwrap().status;
            assert!([400, 415].contains(&status), "{headers:?}: {status}");
        }
    }
    assert_eq!(stand.mock.stats().requests_total, 0);
}
