//! The Debian package: made of the same metadata as cargo-deb makes it, and installed by dpkg below a
//! folder of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tollgate::config::{self, LedgerUrl};

use crate::rules::repository;
use crate::support::folder::Folder;
use crate::support::programs::find;

/// The package as Cargo.toml has it.
fn package() -> Value {
    let asked = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--locked"])
        .args(["--format-version", "1"])
        .current_dir(repository())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&asked.stdout).unwrap();
    metadata["packages"][0].clone()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    let text = value[name].as_str();
    text.unwrap_or_else(|| panic!("no {name}"))
}

/// The files that a source stands for: itself, or all of its folder that end like it.
fn sources(source: &str) -> Vec<PathBuf> {
    // What cargo-deb takes from the release build is the program under test here.
    if source == "target/release/tollgate" {
        return vec![env!("CARGO_BIN_EXE_tollgate").into()];
    }
    let path = repository().join(source);
    let Some((folder, end)) = source.split_once('*') else {
        return vec![path];
    };
    let entries = fs::read_dir(repository().join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{source}");
    found
}

/// Makes the package with that version.
fn build(dpkg_deb: &Path, folder: &Path, version: &str) -> PathBuf {
    let package = package();
    let deb = &package["metadata"]["deb"];
    let tree = folder.join(format!("tree-{version}"));
    for asset in deb["assets"].as_array().unwrap() {
        let [source, target, mode] = [0, 1, 2].map(|part| asset[part].as_str().unwrap());
        for source in sources(source) {
            let name = match target.ends_with('/') {
                true => Path::new(target).join(source.file_name().unwrap()),
                false => target.into(),
            };
            let file = tree.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::copy(source, &file).unwrap();
            let mode = u32::from_str_radix(mode, 8).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    let control = tree.join("DEBIAN");
    fs::create_dir(&control).unwrap();
    let depends = text(deb, "depends").replace("$auto", "libc6");
    let (maintainer, description) = (text(deb, "maintainer"), text(&package, "description"));
    let fields = format!(
        "Package: tollgate\nVersion: {version}\nArchitecture: amd64\nMaintainer: {maintainer}\n\
         Section: {}\nPriority: {}\nDepends: {depends}\nDescription: {description}\n",
        text(deb, "section"),
        text(deb, "priority"),
    );
    fs::write(control.join("control"), fields).unwrap();
    let conffiles = deb["conf-files"].as_array().unwrap().iter();
    let conffiles: Vec<_> = conffiles.map(|file| file.as_str().unwrap()).collect();
    fs::write(control.join("conffiles"), conffiles.join("\n") + "\n").unwrap();
    let scripts = repository().join(text(deb, "maintainer-scripts"));
    for script in ["postinst", "prerm", "postrm"] {
        fs::copy(scripts.join(script), control.join(script)).unwrap();
    }
    let file = folder.join(format!("tollgate-{version}.deb"));
    let mut command = Command::new(dpkg_deb);
    let command = command.args(["--root-owner-group", "-Znone", "--build"]);
    let built = command.arg(&tree).arg(&file).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    file
}

/// A machine to install on: a folder, in which dpkg runs the package's scripts with programs that
/// note how they are called.
struct Machine {
    folder: Folder,
    dpkg: PathBuf,
}

impl Machine {
    fn new(dpkg: PathBuf) -> Self {
        let folder = Folder::new();
        for name in ["info", "updates", "triggers", "parts"] {
            fs::create_dir_all(folder.join("var/lib/dpkg").join(name)).unwrap();
        }
        fs::write(folder.join("var/lib/dpkg/status"), "").unwrap();
        fs::create_dir(folder.join("stubs")).unwrap();
        for name in ["adduser", "systemctl"] {
            let script = format!("#!/bin/sh\necho {name} \"$@\" >> \"$DPKG_ROOT/called\"\n");
            let stub = folder.join("stubs").join(name);
            fs::write(&stub, script).unwrap();
            fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder, dpkg }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn dpkg(&self, arguments: &[&str], file: &Path) -> Output {
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}:/usr/sbin:/sbin", self.path("stubs").display());
        let root = format!("--root={}", self.folder.display());
        let forced = "--force-script-chrootless,depends,not-root,confold";
        let mut command = Command::new(&self.dpkg);
        let ran = command
            .args([&*root, forced])
            .args(arguments)
            .arg(file)
            .env("PATH", path)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
        ran
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

#[test]
fn the_package_installs_upgrades_and_goes() {
    let (Some(dpkg_deb), Some(dpkg)) = (
        find("dpkg-deb", "TOLLGATE_DPKG_DEB"),
        find("dpkg", "TOLLGATE_DPKG"),
    ) else {
        return;
    };
    let built = Folder::new();
    let machine = Machine::new(dpkg);
    // One that cargo-deb has made is tried in place of the first.
    let first = std::env::var_os("TOLLGATE_DEB").map(PathBuf::from);
    let first = first.unwrap_or_else(|| build(&dpkg_deb, &built, "0.0.1-1"));
    machine.dpkg(&["-i"], &first);
    let called = machine.read("called");
    assert!(called.starts_with("adduser --system --group "), "{called}");
    assert!(!called.contains("restart"), "{called}");
    let version = Command::new(machine.path("usr/bin/tollgate"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(version.stdout.starts_with(b"tollgate "), "{version:?}");
    for file in [
        "usr/lib/systemd/system/tollgate.service",
        "usr/lib/systemd/system/tollgate.socket",
        "usr/share/doc/tollgate/examples/tollgate.yaml",
        "usr/share/doc/tollgate/operations.md",
    ] {
        assert!(machine.path(file).is_file(), "{file}");
    }
    // The credentials' file is root's alone, and what stands in it outlives an upgrade, as does a
    // configuration that was changed.
    let credentials = machine.path("etc/tollgate/tollgate.env");
    let mode = fs::metadata(&credentials).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::write(&credentials, "OPENAI_API_KEY=mine\n").unwrap();
    let configuration = machine.path("etc/tollgate/tollgate.yaml");
    let changed = machine.read("etc/tollgate/tollgate.yaml") + "# mine\n";
    fs::write(&configuration, &changed).unwrap();
    fs::create_dir_all(machine.path("var/lib/tollgate")).unwrap();
    fs::write(machine.path("var/lib/tollgate/tollgate.db"), "owed").unwrap();

    machine.dpkg(&["-i"], &build(&dpkg_deb, &built, "99.0.0-1"));
    assert_eq!(
        machine.read("etc/tollgate/tollgate.env"),
        "OPENAI_API_KEY=mine\n"
    );
    assert_eq!(machine.read("etc/tollgate/tollgate.yaml"), changed);

    machine.dpkg(&["--remove"], Path::new("tollgate"));
    assert!(!machine.path("usr/bin/tollgate").exists());
    assert_eq!(machine.read("etc/tollgate/tollgate.yaml"), changed);
    machine.dpkg(&["--purge"], Path::new("tollgate"));
    assert!(!machine.path("etc/tollgate").exists());
    assert_eq!(machine.read("var/lib/tollgate/tollgate.db"), "owed");
}

#[test]
fn the_packages_configuration_fits_its_units() {
    let file = repository().join("conf/debian/tollgate.yaml");
    let env = |name: &str| (name == "OPENAI_API_KEY").then(|| "credential".to_owned());
    let config = config::load_with(&file, &env).unwrap();
    let units = repository().join("conf/systemd");
    let socket = fs::read_to_string(units.join("tollgate.socket")).unwrap();
    let listens = format!("\nListenStream={}\n", config.listen.address);
    assert!(socket.contains(&listens), "{socket}");
    let service = fs::read_to_string(units.join("tollgate.service")).unwrap();
    assert!(service.contains("\nStateDirectory=tollgate\n"));
    let ledger = LedgerUrl::Sqlite("/var/lib/tollgate/tollgate.db".into());
    assert_eq!(config.ledger, ledger);
    let deb = package()["metadata"]["deb"].clone();
    assert_eq!(deb["conf-files"][0], "/etc/tollgate/tollgate.yaml");
}
