//! The manifests for Kubernetes: by its schemas, and by what they say of each other and of the gate.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate::config::{self, Config, LedgerUrl};

use crate::dashboard::python;
use crate::rules::repository;
use crate::support::folder::Folder;

/// The oldest version that the manifests are for, and the newest whose schemas are known here.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join("conf/kubernetes")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// All manifests, by kind and name.
fn manifests() -> BTreeMap<(String, String), Value> {
    let mut manifests = BTreeMap::new();
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        for document in text.split("\n---\n") {
            let manifest: Value = serde_saphyr::from_str(document).unwrap();
            let name = (
                text_of(&manifest["kind"]),
                text_of(&manifest["metadata"]["name"]),
            );
            assert!(manifests.insert(name, manifest).is_none(), "{file:?}");
        }
    }
    manifests
}

fn manifest(kind: &str, name: &str) -> Value {
    let found = manifests().remove(&(kind.to_owned(), name.to_owned()));
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// Whether an object with these labels is selected.
fn selects(selector: &Value, labels: &Value) -> bool {
    let mut wanted = selector.as_object().unwrap().iter();
    wanted.all(|(name, value)| labels.get(name) == Some(value))
}

/// The pod of the gates, and its only container.
fn pod() -> (Value, Value) {
    let template = manifest("Deployment", "tollgate")["spec"]["template"].clone();
    let containers = list(&template["spec"]["containers"]);
    assert_eq!(containers.len(), 1);
    (template.clone(), containers[0].clone())
}

/// The configuration as the gates read it, with the environment that they are given.
fn config() -> Config {
    let (map, folder) = (manifest("ConfigMap", "tollgate"), Folder::new());
    for (name, text) in map["data"].as_object().unwrap() {
        fs::write(folder.join(name), text_of(text)).unwrap();
    }
    let (_, container) = pod();
    let secrets = manifest("Secret", "tollgate")["stringData"].clone();
    let env = |name: &str| {
        let mut variables = list(&container["env"]).iter();
        let variable = variables.find(|variable| variable["name"] == name)?;
        let secret = &variable["valueFrom"]["secretKeyRef"];
        assert_eq!(secret["name"], "tollgate");
        secrets[secret["key"].as_str()?].as_str().map(String::from)
    };
    let config = config::load_with(&folder.join("tollgate.yaml"), &env);
    config.unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn manifests_are_valid_by_the_schemas() {
    let Some(python) = python() else {
        return;
    };
    let known = manifests().len();
    for version in VERSIONS {
        let mut command = Command::new(&python);
        command.args(["-m", "kubernetes_validate", "--strict", "-k", version]);
        let ran = command.args(files()).output().unwrap();
        let said = [ran.stdout, ran.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(ran.status.success(), "{version}: {said}");
        let passed = said
            .lines()
            .filter(|line| line.contains(" passed for resource "));
        // The schema of a ServiceMonitor is the operator's.
        assert_eq!(passed.count() + 1, known, "{version}: {said}");
        let unknown: Vec<_> = said
            .lines()
            .filter(|line| line.starts_with("WARN"))
            .collect();
        assert!(
            matches!(unknown[..], [line] if line.contains("ServiceMonitor")),
            "{version}: {said}"
        );
    }
}

#[test]
fn gates_are_given_the_configuration_and_the_secrets_that_it_wants() {
    let config = config();
    assert!(matches!(config.ledger, LedgerUrl::Postgres(_)));
    assert!(!config.keys.is_empty());
    let (template, container) = pod();
    let mount = &container["volumeMounts"][0];
    let volume = &template["spec"]["volumes"][0];
    assert_eq!(mount["name"], volume["name"]);
    assert_eq!(volume["configMap"]["name"], "tollgate");
    let file = format!("{}/tollgate.yaml", text_of(&mount["mountPath"]));
    assert_eq!(container["args"], json!(["serve", "--config", file]));
}

#[test]
fn ports_and_selectors_lead_to_the_gates() {
    let config = config();
    let (template, container) = pod();
    let labels = &template["metadata"]["labels"];
    let ports = list(&container["ports"]).iter();
    let ports: BTreeMap<_, _> = ports
        .map(|port| (text_of(&port["name"]), port["containerPort"].as_u64()))
        .collect();
    let admin = config.admin.as_ref().unwrap().address;
    for (name, address) in [("http", config.listen.address), ("admin", admin)] {
        assert_eq!(ports[name], Some(address.port().into()));
        assert!(address.ip().is_unspecified(), "{name}");
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "admin", "{probe}");
    }
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");

    for (service, port) in [("tollgate", "http"), ("tollgate-admin", "admin")] {
        let spec = &manifest("Service", service)["spec"];
        assert!(selects(&spec["selector"], labels), "{service}");
        assert_eq!(list(&spec["ports"]).len(), 1, "{service}");
        assert_eq!(spec["ports"][0]["targetPort"], port, "{service}");
    }
    for (kind, selector) in [
        ("Deployment", "/spec/selector/matchLabels"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
    ] {
        let manifest = manifest(kind, "tollgate");
        assert!(
            selects(manifest.pointer(selector).unwrap(), labels),
            "{kind}"
        );
    }
}

/// The rules know a fleet by a scrape job that begins with `tollgate`: the operator names it as the
/// service.
#[test]
fn the_service_monitor_finds_the_admin_address_alone() {
    let monitor = manifest("ServiceMonitor", "tollgate");
    assert_eq!(monitor["apiVersion"], "monitoring.coreos.com/v1");
    let spec = &monitor["spec"];
    let selector = &spec["selector"]["matchLabels"];
    let services = manifests().into_iter();
    let services = services.filter(|((kind, _), _)| kind == "Service");
    let found: Vec<_> = services
        .filter(|(_, service)| selects(selector, &service["metadata"]["labels"]))
        .collect();
    let [((_, name), service)] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(name.starts_with("tollgate"), "{name}");
    assert!(spec.get("jobLabel").is_none());
    let endpoint = &spec["endpoints"][0];
    assert_eq!(endpoint["port"], service["spec"]["ports"][0]["name"]);
    assert_eq!(endpoint["path"], "/metrics");
    // One that is not ready is watched too.
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
}

#[test]
fn pods_end_after_the_gate_has() {
    let (template, container) = pod();
    let spec = &template["spec"];
    let before = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
    let grace = spec["terminationGracePeriodSeconds"].as_u64().unwrap();
    let bounds = config().bounds;
    let least = Duration::from_secs(before.unwrap()) + bounds.shutdown_timeout;
    assert!(Duration::from_secs(grace) >= least + Duration::from_secs(10));
    // A create that waits for its channel gets its answer.
    for channel in &config().channels {
        let answer = channel.answer_timeout + channel.read_timeout;
        assert!(bounds.shutdown_timeout >= answer, "{}", channel.name);
    }
    // By then no balancer sends requests any more.
    assert!(before >= Some(10));
}

#[test]
fn pods_have_no_rights() {
    for (kind, name) in [
        ("Deployment", "tollgate"),
        ("StatefulSet", "tollgate-postgresql"),
    ] {
        let spec = manifest(kind, name)["spec"]["template"]["spec"].clone();
        assert_eq!(spec["automountServiceAccountToken"], false, "{name}");
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{name}");
        let profile = &spec["securityContext"]["seccompProfile"];
        assert_eq!(profile["type"], "RuntimeDefault", "{name}");
        for container in list(&spec["containers"]) {
            let wanted = json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            });
            assert_eq!(container["securityContext"], wanted, "{name}");
            assert!(
                container["resources"]["limits"]["memory"].is_string(),
                "{name}"
            );
        }
    }
}
