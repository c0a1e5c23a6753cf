//! Describes to operators the configuration in force. **The description contains no secret**: no
//! credential, token, digest or URL of a database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Admin, Bounds, Config, Jobs, LedgerUrl, Listen};
use crate::calendar::format_rfc3339;
use crate::channel::{Channel, PurchasePrice};
use crate::policy::{Allow, Cors, Group, Key, KeyEntry, Limit, Timestamp};

impl Config {
    /// Describes the whole configuration as JSON, with the file's section names as keys, and no secret.
    pub fn describe(&self) -> Value {
        // Destructured, so that the compiler demands a decision about each new field.
        let Self {
            listen,
            admin,
            cors,
            log,
            threads,
            ledger,
            jobs,
            channels,
            catalog,
            fields,
            groups,
            keys,
            digests,
            metrics,
            bounds,
            reload,
            hash,
        } = self;
        let mut digests_of = BTreeMap::<&str, Vec<&KeyEntry>>::new();
        for entry in digests.values() {
            digests_of.entry(&entry.key.name).or_default().push(entry);
        }
        let key = |key: &Arc<Key>| {
            let digests = digests_of.get(&*key.name).map_or(&[][..], Vec::as_slice);
            (key.name.to_string(), of_key(key, digests))
        };
        let models = catalog.models().map(|model| {
            let sizes = model.sizes().iter();
            let sizes = sizes.map(|size| (size.name.to_string(), amount(size.price.amount())));
            let seconds: Vec<_> = model.seconds().iter().map(|s| &*s.text).collect();
            let described = json!({
                "seconds": { "allowed": seconds, "default": &*model.default_seconds().text },
                "sizes": {
                    "default": &*model.default_size().name,
                    "usd_per_second": sizes.collect::<Map<_, _>>(),
                },
                "check_image": model.check_image(),
            });
            (model.name().to_string(), described)
        });
        let groups = groups.iter();
        let groups = groups.map(|(name, group)| (name.to_string(), of_group(group)));
        let channels = channels.iter();
        let channels = channels.map(|channel| (channel.name.to_string(), of_channel(channel)));
        json!({
            "hash": hash.to_hex(),
            "listen": of_listen(listen),
            "admin": admin.as_ref().map(of_admin),
            "cors": cors.as_ref().map(of_cors),
            "log": { "format": word(log.format), "requests": word(log.requests) },
            "server": { "threads": threads },
            "ledger": match ledger {
                LedgerUrl::Memory => "memory".to_owned(),
                LedgerUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
                LedgerUrl::Postgres(_) => "postgres (its URL holds a password)".to_owned(),
            },
            "jobs": of_jobs(jobs),
            "channels": channels.collect::<Map<_, _>>(),
            "catalog": models.collect::<Map<_, _>>(),
            "fields": fields.iter().map(|field| &**field).collect::<Vec<_>>(),
            "groups": groups.collect::<Map<_, _>>(),
            "keys": keys.values().map(key).collect::<Map<_, _>>(),
            "metrics": { "cost_labels": metrics.cost_labels.names() },
            "bounds": of_bounds(bounds),
            "reload": { "watch": reload.watch.map(span) },
        })
    }
}

fn of_listen(listen: &Listen) -> Value {
    let Listen {
        address,
        tls,
        h2c,
        trusted_proxies,
        grace,
    } = listen;
    let tls = tls.as_ref().map(|tls| {
        let (cert, key) = (tls.cert.display(), tls.key.display());
        json!({ "cert": cert.to_string(), "key": key.to_string() })
    });
    let proxies: Vec<_> = trusted_proxies.iter().map(ToString::to_string).collect();
    json!({
        "address": address.to_string(),
        "tls": tls,
        "h2c": h2c,
        "trusted_proxies": proxies,
        "grace": span(*grace),
    })
}

fn of_admin(admin: &Admin) -> Value {
    let Admin {
        address,
        control,
        token,
        open_metrics,
    } = admin;
    json!({
        "address": address.to_string(),
        "control": control,
        "token": is_set(token.is_some()),
        "open_metrics": open_metrics,
    })
}

fn of_cors(cors: &Cors) -> Value {
    let Cors {
        origins,
        headers,
        max_age,
    } = cors;
    let origins = origins.as_ref().map(texts);
    json!({
        "origins": origins.unwrap_or_else(|| "any".into()),
        "headers": texts(headers),
        "max_age": span(*max_age),
    })
}

fn of_jobs(jobs: &Jobs) -> Value {
    let Jobs {
        charge_failed_jobs,
        poll_after,
        polls_per_second,
        expire_after,
        unknown_grace,
        idempotency_for,
        keep,
    } = jobs;
    json!({
        "charge_failed_jobs": charge_failed_jobs,
        "poll_after": span(*poll_after),
        "polls_per_second": polls_per_second,
        "expire_after": span(*expire_after),
        "unknown_grace": span(*unknown_grace),
        "idempotency_for": span(*idempotency_for),
        "keep_days": keep.as_secs() / 86400,
    })
}

fn of_channel(channel: &Channel) -> Value {
    let Channel {
        name: _,
        url,
        replicas: _,
        credential,
        auth,
        models,
        seconds_type,
        http2,
        ca,
        client_cert,
        proxy,
        connect_timeout,
        answer_timeout,
        read_timeout,
        idle_timeout,
        min_download_rate,
        // The channel's own status words are not shown.
        dialect: _,
        content_hosts,
        tier,
        weight,
        state,
        limits,
        purchase,
        ejection,
        probe,
    } = channel;
    let purchase = purchase.as_ref().map(|purchase| {
        let price = match &purchase.price {
            PurchasePrice::Factor(factor) => json!({ "factor": factor.to_string() }),
            PurchasePrice::Prices(prices) => {
                let prices = prices.iter();
                let prices = prices.map(|(model, list)| (model.to_string(), list.as_str().into()));
                json!({ "prices": prices.collect::<Map<_, _>>() })
            }
        };
        json!({ "currency": &*purchase.currency, "price": price })
    });
    let (client_cert, probe) = (client_cert.as_ref(), probe.as_ref());
    // The user and password of the proxy are left out.
    let proxy = proxy.as_ref().map(|proxy| {
        let user = is_set(proxy.authorization.is_some());
        json!({ "host": proxy.host, "port": proxy.port, "user": user })
    });
    let hosts: Vec<_> = content_hosts.iter().map(ToString::to_string).collect();
    json!({
        "url": url.text(),
        "urls": channel.addresses().map(|url| url.text()).collect::<Vec<_>>(),
        "credential": is_set(credential.is_some()),
        "auth": word(auth),
        "models": texts(models),
        "seconds_type": word(seconds_type),
        "http2": word(http2),
        "ca_certificates": ca.len(),
        "client_cert_not_after": client_cert.map(|cert| format_rfc3339(cert.validity().not_after)),
        "proxy": proxy,
        "connect_timeout": span(*connect_timeout),
        "answer_timeout": span(*answer_timeout),
        "read_timeout": span(*read_timeout),
        "idle_timeout": span(*idle_timeout),
        "min_download_rate": min_download_rate,
        "content_hosts": hosts,
        "tier": tier,
        "weight": weight,
        "state": state.name(),
        "limits": of_limits(limits),
        "purchase": purchase,
        "ejection": {
            "failures": ejection.failures,
            "pause": span(ejection.pause),
            "max_pause": span(ejection.max_pause),
        },
        "probe": probe.map(|probe| json!({ "path": &*probe.path, "every": span(probe.every) })),
    })
}

fn of_group(group: &Group) -> Value {
    let Group {
        name: _,
        multiplier,
        currency,
        limits,
        channels,
    } = group;
    json!({
        "multiplier": multiplier.to_string(),
        "currency": &**currency,
        "limits": of_limits(limits),
        "channels": channels.as_ref().map(texts),
    })
}

fn of_key(key: &Key, digests: &[&KeyEntry]) -> Value {
    let Key {
        name: _,
        group,
        allow,
        limits,
        channels,
    } = key;
    let Allow {
        models,
        sizes,
        seconds,
    } = allow;
    let validity = digests.iter().map(|entry| entry.validity);
    let not_after = validity.clone().find_map(|validity| validity.not_after);
    // Of the digests, only their number and the times until which replaced ones stay valid are shown.
    let until = validity.clone().filter_map(|validity| validity.until);
    json!({
        "group": &*group.name,
        "digests": digests.len(),
        "digests_until": until.map(time).collect::<Vec<_>>(),
        "not_after": not_after.map(time),
        "disabled": validity.clone().any(|validity| validity.disabled),
        "allow": {
            "models": models.as_ref().map(texts),
            "sizes": sizes.as_ref().map(texts),
            "seconds": seconds.as_ref().map(texts),
        },
        "limits": of_limits(limits),
        "channels": channels.as_ref().map(texts),
    })
}

fn of_bounds(bounds: &Bounds) -> Value {
    let Bounds {
        body_bytes,
        head_bytes,
        headers,
        parts,
        part_header_bytes,
        prompt_chars,
        read_timeout,
        upload_timeout,
        keepalive_timeout,
        keepalive_requests,
        concurrent_uploads,
        uploads_per_key,
        upload_rate,
        upload_rate_window,
        connections,
        drain_bytes,
        drain_timeout,
        answer_bytes,
        shutdown_timeout,
    } = bounds;
    json!({
        "body_bytes": body_bytes,
        "head_bytes": head_bytes,
        "headers": headers,
        "parts": parts,
        "part_header_bytes": part_header_bytes,
        "prompt_chars": prompt_chars,
        "read_timeout": span(*read_timeout),
        "upload_timeout": span(*upload_timeout),
        "keepalive_timeout": span(*keepalive_timeout),
        "keepalive_requests": keepalive_requests,
        "concurrent_uploads": concurrent_uploads,
        "uploads_per_key": uploads_per_key,
        "upload_rate": upload_rate,
        "upload_rate_window": span(*upload_rate_window),
        "connections": connections,
        "drain_bytes": drain_bytes,
        "drain_timeout": span(*drain_timeout),
        "answer_bytes": answer_bytes,
        "shutdown_timeout": span(*shutdown_timeout),
    })
}

/// Returns a JSON object with a list of limits, as texts, for the name of each measure.
fn of_limits(limits: &[Limit]) -> Value {
    let mut all = Map::new();
    for limit in limits {
        let list = all.entry(limit.measure.name()).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(limit.to_string().into());
        }
    }
    all.into()
}

fn texts<'a>(texts: impl IntoIterator<Item = &'a Arc<str>>) -> Value {
    let texts = texts.into_iter();
    texts.map(|text| Value::from(&**text)).collect()
}

fn span(span: Duration) -> String {
    format!("{span:?}")
}

fn time(at: Timestamp) -> String {
    format_rfc3339(at.seconds())
}

fn amount(amount: crate::money::Amount) -> Value {
    amount.to_string().into()
}

/// Returns the name of an enum's variant in lower case.
fn word(choice: impl std::fmt::Debug) -> String {
    format!("{choice:?}").to_lowercase()
}

fn is_set(is_set: bool) -> &'static str {
    match is_set {
        true => "set",
        false => "not set",
    }
}
