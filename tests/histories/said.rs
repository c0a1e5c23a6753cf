//! What the channels say to each request.

use std::sync::Mutex;

use tokio::sync::oneshot;

use crate::channel::{Job, Request, Then, Truth, decoded, head, json};
use crate::excuses::LATE;
use crate::step::{Deletion, Listing, Play, Polling, Refusal, Status};

pub async fn create(
    request: &Request,
    source: Option<String>,
    channel: usize,
    truth: &Mutex<Truth>,
) -> Then {
    let (number, play, render, made, told) = {
        let mut truth = truth.lock().unwrap();
        let (number, play, render) = truth.next.expect("a create that nobody made");
        let made = truth.make_if(play, (number, request, source.as_ref()), channel, render);
        let held = matches!(play, Play::Hold | Play::HoldMade);
        let told = held.then(oneshot::channel).map(|(tell, told)| {
            truth.held.insert(number, tell);
            told
        });
        (number, play, render, made, told)
    };
    let Some(told) = told else {
        return say(&mut truth.lock().unwrap(), play, made, channel);
    };
    // Dropped, it breaks off.
    let then = told.await.unwrap_or(Play::Never);
    let mut truth = truth.lock().unwrap();
    if play == Play::HoldMade {
        let then = if then.makes() { then } else { Play::Lost };
        return say(&mut truth, then, made, channel);
    }
    let then = if then == Play::HoldMade {
        Play::Lost
    } else {
        then
    };
    let made = truth.make_if(then, (number, request, source.as_ref()), channel, render);
    say(&mut truth, then, made, channel)
}

/// How a create is answered, once its job (if any) is made.
fn say(truth: &mut Truth, play: Play, made: Option<usize>, channel: usize) -> Then {
    let error = |status: u16, code: &str| {
        let body = format!(r#"{{"error":{{"message":"No.","type":"x","code":"{code}"}}}}"#);
        json(status, body)
    };
    if let (Play::Ended(status), Some(made)) = (play, made) {
        truth.jobs[made].status = status;
    }
    let job = |truth: &Truth| {
        let job = &truth.jobs[made.expect("a job")];
        described(job, false, false)
    };
    match play {
        Play::Answer | Play::Ended(_) => {
            truth.jobs[made.expect("a job")].told = true;
            json(200, job(truth))
        }
        Play::Lost | Play::Never | Play::Hold | Play::HoldMade => Then::WriteAndBreak(vec![]),
        Play::Half => {
            let text = job(truth);
            let whole = head(200, text.len(), &truth.date(channel)) + &text;
            Then::WriteAndBreak(whole.as_bytes()[..whole.len() - text.len() / 2].to_vec())
        }
        Play::Drip => {
            Then::Drip((head(200, 1 << 20, &truth.date(channel)) + &job(truth)).into_bytes())
        }
        Play::NoId => json(200, r#"{"object":"video","status":"queued"}"#),
        Play::Again => {
            // An older one may have been pruned: after 32 days, by a gate whose clock is 30 days ahead.
            let limit = truth.now.saturating_sub(46 * 3600 * 1000);
            let mut jobs = truth.jobs.iter();
            let earlier = jobs.find(|job| job.channel == channel && job.told && job.made >= limit);
            match earlier {
                Some(job) => json(200, described(job, false, false)),
                None => error(400, "invalid_value"),
            }
        }
        Play::Refuse(refusal) => match refusal {
            Refusal::Invalid => error(400, "invalid_value"),
            Refusal::Account => error(401, "invalid_api_key"),
            Refusal::Rate => error(429, "rate_limit_exceeded"),
            Refusal::Quota => error(429, "insufficient_quota"),
            Refusal::Internal => error(503, "overloaded"),
        },
        // In the API's own words, as gateways write them too.
        Play::Gateway(500) => error(500, "internal_error"),
        Play::Gateway(status) => json(status, "<html>Bad gateway</html>"),
        Play::Redirect => json(302, "{}"),
    }
}

fn described(job: &Job, other_words: bool, unreadable: bool) -> String {
    let status = match (job.status, other_words) {
        (Status::Queued, false) => "queued",
        (Status::Completed, false) => "completed",
        (Status::Failed, false) => "failed",
        (Status::Cancelled, false) => "cancelled",
        (Status::Queued, true) => "PROCESSING",
        (Status::Completed, true) => "succeeded",
        (Status::Failed, true) => "error",
        (Status::Cancelled, true) => "canceled",
    };
    let source = match &job.source {
        Some(id) => format!(r#","remixed_from_video_id":"{id}""#),
        None => String::new(),
    };
    let odd = if unreadable {
        r#","odd":[1e400,"\ud800"]"#
    } else {
        ""
    };
    format!(
        r#"{{"id":"{}","object":"video","status":"{status}","model":"{}","prompt":"{}","seconds":"{}","size":"{}","created_at":{}{source}{odd}}}"#,
        job.id, job.model, job.prompt, job.seconds, job.size, job.created_at
    )
}

pub fn poll(id: &str, channel: usize, truth: &Truth) -> Then {
    let Some(job) = truth.find(channel, id) else {
        return json(
            404,
            r#"{"error":{"message":"No such video.","code":"not_found"}}"#,
        );
    };
    match truth.polling[channel] {
        Polling::Whole => json(200, described(job, false, false)),
        Polling::OtherWords => json(200, described(job, true, false)),
        Polling::Unreadable => json(200, described(job, false, true)),
        Polling::Fails => json(500, r#"{"error":{"message":"Oh.","code":"internal"}}"#),
        Polling::Garbage => json(200, "<html>Welcome</html>"),
        Polling::OtherJob => {
            let mut other = job.clone();
            other.id.push('x');
            json(200, described(&other, false, false))
        }
        Polling::Breaks => Then::WriteAndBreak(vec![]),
    }
}

pub fn delete(id: &str, channel: usize, truth: &mut Truth) -> Then {
    let deletion = truth.deletion;
    let gone = r#"{"error":{"message":"No such video.","code":"not_found"}}"#;
    let found = truth.jobs.iter_mut();
    let found = { found }.find(|job| job.channel == channel && job.id == id && !job.deleted);
    let Some(job) = found else {
        return json(404, gone);
    };
    match deletion {
        Deletion::Done | Deletion::Lost => job.deleted = true,
        Deletion::NoRoute => return json(404, "<html>Not found</html>"),
        Deletion::Fails => return json(500, "<html>Oh</html>"),
    }
    match deletion {
        Deletion::Lost => Then::WriteAndBreak(vec![]),
        _ => json(
            200,
            format!(r#"{{"id":"{id}","object":"video.deleted","deleted":true}}"#),
        ),
    }
}

pub fn list(query: &str, channel: usize, truth: &Truth) -> Then {
    let listing = truth.listing[channel];
    match listing {
        Listing::Fails => return json(500, r#"{"error":{"message":"Oh.","code":"internal"}}"#),
        Listing::Garbage => return json(200, "<html>Welcome</html>"),
        _ => {}
    }
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(n, _)| *n == name)
            .map(|(_, value)| decoded(value))
    };
    let hidden_from = truth.now.saturating_sub(LATE);
    let late = |job: &&Job| listing != Listing::Late || job.made < hidden_from;
    let jobs = truth
        .jobs
        .iter()
        .filter(|job| job.channel == channel && !job.deleted);
    let mut jobs: Vec<_> = jobs.filter(late).collect();
    jobs.reverse();
    if listing == Listing::Shuffled {
        let half = jobs.len() / 2;
        jobs.rotate_left(half);
    }
    if let Some(after) = value("after") {
        let place = jobs.iter().position(|job| job.id == after);
        jobs.drain(..place.map_or(0, |place| place + 1));
    }
    let max = match listing {
        Listing::Short => 2,
        _ => value("limit")
            .and_then(|limit| limit.parse().ok())
            .unwrap_or(20),
    };
    let has_more = jobs.len() > max;
    jobs.truncate(max);
    let mut entries: Vec<_> = jobs
        .iter()
        .map(|job| described(job, false, false))
        .collect();
    match listing {
        Listing::NoPrompts => {
            for (entry, job) in entries.iter_mut().zip(&jobs) {
                let prompt = format!(r#""prompt":"{}","#, job.prompt);
                *entry = entry.replace(&prompt, "");
            }
        }
        Listing::Unreadable => {
            entries.insert(0, r#"{"id":"odd","prompt":"\ud800"}"#.into());
            entries.push(r#"{"id":"large","prompt":"a film","seconds":1e400}"#.into());
        }
        _ => {}
    }
    let entries = entries.join(",");
    json(
        200,
        format!(r#"{{"object":"list","data":[{entries}],"has_more":{has_more}}}"#),
    )
}
