"""The audit: who has asked for what, in bounded room."""

from __future__ import annotations

from crosscam_edge.gallery import AuditBound, Gallery, Reader


def test_searches_are_noted_with_the_name_of_who_asked(ask, live):
    ask("hall", "/identities?camera=hall&limit=3")
    ask("viewer", "/identities/1")
    live.gallery.writer.flush()
    reader = Reader(live.path)
    rows = reader._ask("SELECT who, action, detail FROM audit ORDER BY id DESC LIMIT 2")
    assert [tuple(row.values()) for row in rows] == [
        ("viewer", "look", "identity 1"), ("hall", "search", "camera=hall"),
    ]  # fmt: skip
    reader.close()


def test_the_audit_is_bounded_in_rows_and_age(tmp_path):
    now = [10**18]
    bound = AuditBound(rows=5, keep_s=100.0)
    gallery = Gallery(
        tmp_path / "g.db", model_id="m", dim=8, now_ns=lambda: now[0], keep_s=1e9, audit=bound
    )
    reader = Reader(tmp_path / "g.db")

    def rows():
        assert gallery.writer.flush()
        return [row["detail"] for row in reader._ask("SELECT detail FROM audit ORDER BY id")]

    assert reader.audit_rows() == (0, 0)
    for k in range(8):
        gallery.audit("desk", "look", str(k))
        now[0] += 10**9
    assert rows() == ["3", "4", "5", "6", "7"]
    assert reader.audit_rows() == (5, 3)
    now[0] = 10**18 + 3600 * 10**9  # tidied once an hour
    gallery.audit("desk", "look", "8")
    gallery.tidy()
    assert rows() == ["8"]
    now[0] += 3600 * 10**9
    gallery.tidy()
    assert rows() == ["8"]  # the newest tells how many there were
    gallery.audit("desk", "look", "9")
    assert rows() == ["8", "9"]
    assert reader.audit_rows() == (2, 8)
    reader.close()
    gallery.close()
