"""Reading from URLs: good hosts, broken ones, hostile ones, and where nobody may connect to."""

from __future__ import annotations

import contextlib
import gzip
import pickle
import ssl
import threading
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
import web_server
from web_server import content, redirect

from beamvec.errors import InputError
from beamvec.transforms.files import retrying
from beamvec.transforms.files.http_errors import RobotsTagError, TooSlowError
from beamvec.transforms.files.http_fetch import MAX_REDIRECTS, Fetcher
from beamvec.transforms.files.http_guard import ForbiddenAddressError, Guard, explain_refusal
from beamvec.transforms.files.urls import DEFAULT_USER_AGENT, UrlReader, UrlSettings, is_url
from beamvec.transforms.records.images import ImageRef

DATA = bytes(range(256)) * 40
OPEN = UrlSettings(allow_private_hosts=True)
HASTY = UrlSettings(
    allow_private_hosts=True, fetch_timeout_s=0.4, connect_timeout_s=0.3, silence_timeout_s=0.2
)


@pytest.fixture
def server():
    with web_server.serve() as server:
        server.answers["/a.jpg"] = content(DATA)
        yield server


@pytest.fixture
def impatient(monkeypatch):
    """Nothing is tried again for long."""
    monkeypatch.setattr(retrying, "FIRST_DELAY_S", 0.01)
    for name in ("TRANSIENT_S", "LENGTH_S"):
        monkeypatch.setattr(f"beamvec.transforms.files.http_errors.{name}", 0.1)


def only(*addresses: str, names: dict[str, list[str]] | None = None) -> Guard:
    """Return a guard that takes these addresses for public, and knows these names."""

    def resolve(host: str, _: int) -> list[str]:
        return (names or {}).get(host, [host])

    def explain(address: str) -> str | None:
        return None if address in addresses else explain_refusal(address)

    return Guard(resolve, explain)


def test_an_image_is_read_as_it_is(server):
    fetcher = Fetcher(OPEN)
    assert fetcher.read(server.url("a.jpg")) == DATA
    assert fetcher.read(server.url("a.jpg?token=1#top"), 100) == DATA[:100]
    assert fetcher.read(server.url("a.jpg")) == DATA


def test_a_host_is_told_who_asks(server):
    Fetcher(OPEN).read(server.url("a.jpg"))
    agent = "museum/2 (art@example.org)"
    Fetcher(UrlSettings(agent, allow_private_hosts=True)).read(server.url("a.jpg"))
    told = [headers["User-Agent"] for _, headers in server.requests]
    assert told == [DEFAULT_USER_AGENT, agent]
    assert DEFAULT_USER_AGENT.startswith("beamvec/")


@pytest.mark.parametrize("agent", ["", "a\r\nHost: b", "käse", " a"])
def test_a_user_agent_that_no_header_can_hold_is_refused(agent):
    with pytest.raises(InputError, match="`user_agent`"):
        UrlSettings(agent)


@pytest.mark.parametrize(("name", "value"), [("connections_per_host", 0), ("fetch_timeout_s", 0)])
def test_limits_have_a_range(name, value):
    with pytest.raises(InputError, match=f"`{name.removesuffix('_s')}={value}` is out of range"):
        UrlSettings(**{name: value})


def test_a_connection_is_used_again(server):
    server.answers["/gone.jpg"] = content(b"no", 404)
    server.answers["/moved.jpg"] = redirect("/a.jpg")
    fetcher = Fetcher(OPEN)
    for name in ("a.jpg", "gone.jpg", "moved.jpg", "a.jpg") * 3:
        if name == "gone.jpg":
            with pytest.raises(FileNotFoundError, match="the host answers 404"):
                fetcher.read(server.url(name))
        else:
            assert fetcher.read(server.url(name)) == DATA
    assert server.connections == 1


def test_a_connection_that_the_host_has_closed_costs_nothing(server):
    def answer(handler):
        handler.send(DATA)
        handler.end_connection()  # Without a word about it.

    server.answers["/closing.jpg"] = answer
    fetcher = Fetcher(OPEN)
    with retrying.counted() as retries:
        assert [fetcher.read(server.url("closing.jpg")) for _ in range(5)] == [DATA] * 5
        assert retries() == 0


def test_odd_letters_are_escaped_as_browsers_do(server):
    server.answers["/käse und brot.jpg"] = content(DATA)
    assert Fetcher(OPEN).read(server.url("käse und brot.jpg?q=ä b")) == DATA
    server.answers["/old.jpg"] = redirect("/käse und brot.jpg")
    assert Fetcher(OPEN).read(server.url("old.jpg")) == DATA


def test_names_and_passwords_are_sent_and_not_told(server):
    server.answers["/secret.jpg"] = content(b"", 401)
    url = server.url("secret.jpg", "me:pa%20ss@127.0.0.1")
    with pytest.raises(PermissionError, match="the host answers 401") as caught:
        Fetcher(OPEN).read(url)
    assert "pa" not in str(caught.value).removeprefix("[Errno 13] the host answers")
    assert server.requests[-1][1]["Authorization"] == "Basic bWU6cGEgc3M="


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, FileNotFoundError),
        (410, FileNotFoundError),
        (403, PermissionError),
        (451, PermissionError),
        (400, OSError),
        (206, OSError),
        (204, OSError),
        (304, OSError),
    ],
)
def test_answers_that_are_no_image_are_not_tried_again(server, status, error):
    server.answers["/x.jpg"] = content(b"", status)
    with pytest.raises(error, match=f"the host answers {status}"):
        Fetcher(OPEN).read(server.url("x.jpg"))
    assert server.seen["/x.jpg"] == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.usefixtures("impatient")
def test_what_may_pass_is_tried_again(server, status):
    server.answers["/x.jpg"] = web_server.in_turn(content(b"", status), content(DATA))
    result = UrlReader(OPEN).read(ImageRef(server.url("x.jpg")))
    assert (result.data, result.error, result.retries) == (DATA, None, 1)


@pytest.mark.usefixtures("impatient")
def test_a_broken_connection_is_tried_again(server):
    server.answers["/x.jpg"] = web_server.in_turn(web_server.reset, content(DATA))
    assert Fetcher(OPEN).read(server.url("x.jpg")) == DATA


def test_a_host_says_when_to_come_back(server, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("beamvec.transforms.files.retrying.time.sleep", waits.append)
    busy = content(b"", 429, Retry_After="7")
    server.answers["/x.jpg"] = web_server.in_turn(busy, busy, content(DATA))
    assert Fetcher(OPEN).read(server.url("x.jpg")) == DATA
    assert [7 < wait < 9 for wait in waits if wait] == [True, True]


def test_nobody_waits_for_a_day(server):
    server.answers["/x.jpg"] = content(b"", 503, Retry_After="86400")
    with pytest.raises(OSError, match="the host answers 503; tried 1 times"):
        Fetcher(OPEN).read(server.url("x.jpg"))


ENDS = {
    "cut": (web_server.cut(DATA, len(DATA) + 1), "it is cut: fewer bytes come"),
    "cut chunks": (web_server.cut_chunks(DATA), "it is cut: fewer bytes come"),
    "too long": (web_server.cut(DATA, 100, close=False), "more bytes come than Content-Length"),
    "too long, closed": (web_server.cut(DATA, 100), "more bytes come than Content-Length"),
    "reset": (web_server.reset, "the connection broke"),
    "no http": (web_server.raw(b"SSH-2.0-x\r\n\r\n"), "the answer is no HTTP"),
    "no answer": (web_server.raw(b""), "the connection broke: the host closed it"),
    "long header": (web_server.raw(b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000), "no HTTP"),
    "503": (content(b"", 503), "the host answers 503; tried "),
    "packed as nothing known": (content(DATA, Content_Encoding="br"), "packed as 'br', unasked"),
    "not packed": (content(DATA, Content_Encoding="gzip"), "said to be compressed, but is not"),
    "packed and cut": (
        content(gzip.compress(DATA)[:-9], Content_Encoding="gzip"),
        "what is compressed in it ends too early",
    ),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.usefixtures("impatient")
def test_what_is_not_whole_is_an_error_and_disturbs_no_other(server, end):
    answer, told = ENDS[end]
    server.answers["/x.jpg"] = answer
    fetcher = Fetcher(OPEN)
    for _ in range(2):
        with pytest.raises(OSError, match=told) as caught:
            fetcher.read(server.url("x.jpg?signature=secret"))
        assert "secret" not in str(caught.value)
        assert fetcher.read(server.url("a.jpg")) == DATA


SLOW = {
    "drip": (web_server.drip, TooSlowError, "takes longer than 0.4 s"),
    "drip of a header": (web_server.drip_header, TooSlowError, "takes longer than 0.4 s"),
    "silence": (web_server.silent, OSError, "silent for 0.2 s|takes longer than 0.4 s"),
}


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.usefixtures("impatient")
def test_slow_hosts_hold_nobody(server, kind):
    answer, error, told = SLOW[kind]
    server.answers["/x.jpg"] = answer
    with pytest.raises(error, match=told):
        Fetcher(HASTY).read(server.url("x.jpg"))


def test_an_endless_body_ends_at_the_limit(server):
    server.answers["/x.jpg"] = web_server.endless
    fetcher = Fetcher(OPEN)
    assert len(fetcher.read(server.url("x.jpg"), 3_000_001)) == 3_000_001
    assert fetcher.read(server.url("a.jpg")) == DATA


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_what_is_packed_unasked_is_unpacked(server, pack):
    name = "gzip" if pack is gzip.compress else "deflate"
    server.answers["/x.jpg"] = content(pack(DATA), Content_Encoding=name)
    assert Fetcher(OPEN).read(server.url("x.jpg")) == DATA
    assert Fetcher(OPEN).read(server.url("x.jpg"), 500) == DATA[:500]
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


def test_a_bomb_is_unpacked_to_the_limit_only(server):
    server.answers["/x.jpg"] = content(web_server.bomb(200_000_000), Content_Encoding="gzip")
    fetcher = Fetcher(OPEN)
    fetcher.read(server.url("a.jpg"))
    tracemalloc.start()
    try:
        assert len(fetcher.read(server.url("x.jpg"), 1_000_000)) == 1_000_000
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


TAGS = {
    "noai": True,
    "NoImageAI": True,
    "noindex, noimageai": True,
    "beamvec: noai": True,
    "*: noai": True,
    "otherbot: noai": False,
    "otherbot: noindex, noai": False,
    "otherbot: noindex, beamvec: noai": True,
    "unavailable_after: 25 Jun 2030 15:00:00 PST, noai": True,
    "noindex": False,
    "noairplanes": False,
}


@pytest.mark.parametrize(("tag", "is_refused"), TAGS.items())
def test_owners_may_refuse(server, tag, is_refused):
    server.answers["/x.jpg"] = content(DATA, X_Robots_Tag=tag)
    url = server.url("x.jpg")
    if is_refused:
        with pytest.raises(RobotsTagError, match="its owner refuses it: X-Robots-Tag no"):
            Fetcher(OPEN).read(url)
    else:
        assert Fetcher(OPEN).read(url) == DATA
    asked = UrlSettings(allow_private_hosts=True, ignore_robots_tag=True)
    assert Fetcher(asked).read(url) == DATA


def test_the_name_of_the_user_agent_counts(server):
    server.answers["/x.jpg"] = content(DATA, X_Robots_Tag="museum: noai")
    with pytest.raises(RobotsTagError):
        Fetcher(UrlSettings("Museum/1", allow_private_hosts=True)).read(server.url("x.jpg"))


@pytest.mark.parametrize("hops", [MAX_REDIRECTS, MAX_REDIRECTS + 1])
def test_redirects_are_followed_ten_times(server, hops):
    for i in range(hops):
        server.answers[f"/{i}"] = redirect(f"/{i + 1}", (301, 302, 303, 307, 308)[i % 5])
    server.answers[f"/{hops}"] = content(DATA)
    if hops > MAX_REDIRECTS:
        with pytest.raises(OSError, match="redirected more than 10 times"):
            Fetcher(OPEN).read(server.url("0"))
    else:
        assert Fetcher(OPEN).read(server.url("0")) == DATA


def test_a_loop_of_redirects_ends(server):
    server.answers["/x.jpg"] = redirect("/y.jpg")
    server.answers["/y.jpg"] = redirect("/x.jpg")
    with pytest.raises(OSError, match="redirected more than 10 times"):
        Fetcher(OPEN).read(server.url("x.jpg"))
    assert server.seen.total() == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "place", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://x", "s3://b"]
)
def test_redirects_lead_to_http_only(server, place):
    server.answers["/x.jpg"] = redirect(place)
    with pytest.raises(OSError, match="which is neither http nor https"):
        Fetcher(OPEN).read(server.url("x.jpg"))


@pytest.mark.parametrize(
    "url", ["http://", "http:///a.jpg", "https://host:99999999/a", "http://[::1/a"]
)
def test_what_is_no_url_is_an_error(url):
    result = UrlReader(OPEN).read(ImageRef(url))
    assert isinstance(result.error, OSError)
    assert result.retries == 0


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "0"]
)
def test_this_machine_is_not_connected_to_unless_asked(server, host):
    with pytest.raises(ForbiddenAddressError, match="`allow_private_hosts`"):
        Fetcher(UrlSettings()).read(server.url("a.jpg", host))
    assert server.connections == 0


@pytest.mark.parametrize("spelling", ["{url}", "//127.0.0.2:{port}/a.jpg", "http://u@{at}/a.jpg"])
def test_a_redirect_into_a_private_network_is_refused(server, spelling):
    with web_server.serve("127.0.0.2") as inner:
        at = f"127.0.0.2:{inner.port}"
        place = spelling.format(url=f"http://{at}/a.jpg", port=inner.port, at=at)
        server.answers["/x.jpg"] = redirect(place)
        fetcher = Fetcher(UrlSettings(), only("127.0.0.1"))
        with pytest.raises(ForbiddenAddressError, match=r"127\.0\.0\.2 \(loopback\)"):
            fetcher.read(server.url("x.jpg"))
        assert server.seen["/x.jpg"] == 1
        assert inner.connections == 0


def test_the_address_that_was_checked_is_connected_to(server):
    """A name server that first tells a public address, then a private one."""
    asked: list[str] = []

    def resolve(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    with web_server.serve("127.0.0.2") as inner:
        guard = Guard(resolve, only("127.0.0.1").explain_refusal)
        fetcher = Fetcher(UrlSettings(), guard)
        assert fetcher.read(server.url("a.jpg", "rebinding.example")) == DATA
        assert asked == ["rebinding.example"]
        server.answers["/bye.jpg"] = lambda handler: (handler.send(DATA), handler.end_connection())
        assert fetcher.read(server.url("bye.jpg", "rebinding.example")) == DATA
        with pytest.raises(ForbiddenAddressError, match=r"127\.0\.0\.2"):
            Fetcher(UrlSettings(), guard).read(server.url("a.jpg", "rebinding.example"))
        assert inner.connections == 0
    assert server.requests[0][1]["Host"] == f"rebinding.example:{server.port}"


def test_a_name_with_one_private_address_is_refused(server):
    guard = only("127.0.0.1", names={"mixed.example": ["127.0.0.1", "10.0.0.1"]})
    with pytest.raises(ForbiddenAddressError, match=r"10\.0\.0\.1 \(private\)"):
        Fetcher(UrlSettings(), guard).read(server.url("a.jpg", "mixed.example"))
    assert server.connections == 0


@pytest.mark.usefixtures("impatient")
def test_the_next_address_is_tried_where_one_does_not_answer(server):
    names = {"two.example": ["127.0.0.3", "127.0.0.1"]}
    guard = only("127.0.0.1", "127.0.0.3", names=names)
    assert Fetcher(UrlSettings(), guard).read(server.url("a.jpg", "two.example")) == DATA
    names["two.example"] = ["127.0.0.3"]
    with pytest.raises(OSError, match="cannot connect: Connection refused; tried"):
        Fetcher(UrlSettings(), guard).read(server.url("a.jpg", "two.example"))


@pytest.mark.usefixtures("impatient")
def test_a_dead_host_costs_its_many_images_one_wait():
    with web_server.serve() as gone:
        url = gone.url("a.jpg")
    reader = UrlReader(UrlSettings(allow_private_hosts=True, connect_timeout_s=0.5))
    retries = [reader.read(ImageRef(url)).retries for _ in range(3)]
    assert retries[0] > 0
    assert retries[1:] == [0, 0]


def test_a_host_without_a_name_is_not_tried_again():
    result = UrlReader(UrlSettings()).read(ImageRef("http://nowhere.invalid/a.jpg"))
    assert isinstance(result.error, OSError)
    assert UrlReader(UrlSettings()).read(ImageRef(f"http://{'a' * 70}.x/a.jpg")).error


def test_a_host_sees_so_many_connections_at_once(server):
    server.latency_s = 0.03
    settings = UrlSettings(allow_private_hosts=True, connections_per_host=3)
    # Each worker thread unpickles a reader of its own.
    readers = [pickle.loads(pickle.dumps(UrlReader(settings))) for _ in range(12)]
    with ThreadPoolExecutor(12) as threads:
        ref = ImageRef(server.url("a.jpg"))
        results = list(threads.map(lambda i: readers[i % 12].read(ref), range(60)))
    assert [result.data for result in results] == [DATA] * 60
    assert server.most_at_once == 3
    assert server.connections == 3


def test_hosts_do_not_wait_for_each_other(server):
    gate = threading.Event()
    server.answers["/slow.jpg"] = lambda handler: (gate.wait(20), handler.send(DATA))
    fetcher = Fetcher(UrlSettings(allow_private_hosts=True, connections_per_host=1))
    with ThreadPoolExecutor(1) as threads, web_server.serve("127.0.0.2") as other:
        other.answers["/a.jpg"] = content(DATA)
        slow = threads.submit(fetcher.read, server.url("slow.jpg"))
        assert fetcher.read(other.url("a.jpg", "127.0.0.2")) == DATA
        assert not slow.done()
        gate.set()
        assert slow.result() == DATA


def test_files_and_urls_are_told_apart(tmp_path):
    assert [is_url(place) for place in ("http://a", "HTTPS://a", "a/http://", "s3://a")] == [
        True,
        True,
        False,
        False,
    ]
    file = tmp_path / "a.jpg"
    file.write_bytes(DATA)
    reader = UrlReader()
    assert reader.read(ImageRef(str(file))).data == DATA
    assert reader.read(ImageRef("7", place=str(file))).data == DATA
    assert reader.local_path(ImageRef("7", place=str(file))) == str(file)
    assert reader.local_path(ImageRef("7", place="https://host/a.jpg")) is None


def test_an_id_without_a_place_is_no_path(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(DATA)
    reader = UrlReader(needs_place=True)
    result = reader.read(ImageRef(str(file)))
    assert "the input no longer tells where this image is" in str(result.error)
    assert reader.local_path(ImageRef(str(file))) is None


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of `photos.example`, signed by itself, and its key, in one file."""
    x509 = pytest.importorskip("cryptography.x509", reason="needs cryptography")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "photos.example")])
    now = datetime.now(timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    names = x509.SubjectAlternativeName([x509.DNSName("photos.example")])
    signed = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    written = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    path = tmp_path_factory.mktemp("tls") / "host.pem"
    path.write_bytes(signed.public_bytes(pem) + written)
    return path


def test_a_host_of_https_is_known_by_its_name_not_its_address(certificate, monkeypatch):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    told: list[str] = []
    tls.sni_callback = lambda _, name, __: told.append(name)
    names = {name: ["127.0.0.1"] for name in ("photos.example", "x.example")}
    guard = only("127.0.0.1", names=names)
    with web_server.serve(tls=tls) as server:
        server.answers["/a.jpg"] = content(DATA)
        url = server.url("a.jpg", "photos.example", "https")
        with pytest.raises(OSError, match="certificate is not valid: self-signed"):
            Fetcher(UrlSettings(), guard).read(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        fetcher = Fetcher(UrlSettings(), guard)
        assert [fetcher.read(url), fetcher.read(url)] == [DATA] * 2
        # The handshake that failed is not counted, and the connection is used again.
        assert (told, server.connections) == (["photos.example"] * 2, 1)
        with pytest.raises(OSError, match=r"certificate is not valid: Hostname mismatch"):
            fetcher.read(server.url("a.jpg", "x.example", "https"))
        server.answers["/x.jpg"] = web_server.cut(DATA, len(DATA) + 1)
        with pytest.raises(OSError, match="it is cut"):
            fetcher.read_once(server.url("x.jpg", "photos.example", "https"))
        server.answers["/x.jpg"] = web_server.drip
        with pytest.raises(TooSlowError):
            Fetcher(UrlSettings(fetch_timeout_s=0.4), guard).read(
                server.url("x.jpg", "photos.example", "https")
            )


def test_a_proxy_of_the_environment_is_not_used(server, monkeypatch):
    """It would resolve names itself, so that nobody could look at the addresses."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert Fetcher(OPEN).read(server.url("a.jpg")) == DATA


def test_what_urllib3_logs_has_no_query(server, caplog):
    server.answers["/x.jpg"] = web_server.raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nno header\r\n\r\nx"
    )
    with contextlib.suppress(OSError):
        Fetcher(OPEN).read(server.url("x.jpg?signature=secret"))
    assert "secret" not in caplog.text
