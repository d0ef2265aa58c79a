import json, time
import pytest
from tests.world import Refused
async def go(c, tool, **a):
    r = await c.post({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":tool,"arguments":a}})
    print(r.status_code, tool, json.dumps(a)[:100], "->", r.text[:330])
async def test_probe(user1, user2, service, owner, backend):
    await owner.execute("""
    CREATE SCHEMA priv; GRANT USAGE ON SCHEMA priv TO authenticated;
    CREATE VIEW priv.leak AS SELECT id,title FROM public.notes; GRANT SELECT ON priv.leak TO authenticated;
    CREATE VIEW public.nested WITH (security_invoker=true) AS SELECT * FROM priv.leak; GRANT SELECT ON public.nested TO authenticated;
    CREATE TABLE public.gen(a int primary key, hid int, g int generated always as (hid*7) stored); ALTER TABLE public.gen ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON public.gen USING (hid > 0); GRANT SELECT (a,g), INSERT(a) ON public.gen TO authenticated;
    ALTER TABLE public.gen ALTER hid SET NOT NULL;
    CREATE TABLE hidden.audit(note_id bigint constraint hidden_audit_note_fk references public.notes);
    INSERT INTO hidden.audit VALUES (5);
    CREATE ROLE fat NOLOGIN; 
    """)
    await go(user1,"query_table",table="nested",limit=200,count="exact")
    await go(user1,"describe_table",table="gen")
    await go(user1,"insert_record",table="gen",data={"a":1})
    await go(user1,"delete_record",table="notes",filter={"id":5})
    for f in ({"rank":"cs.5"},{"tags":"in.({a},{b})"},{"meta":"gt.1"},{"rank":"ov.{1}"},{"title":"in.(a\x00)"},{"tags":"eq.x"},{"tags":"eq.{"},{"title":"like.\\"},{"meta":{"in":[{"a":1}]}},{"id":"eq.99999999999999999999999999"},{"user_id":"gt.x"},{"seen_at":"eq.now"},{"seen_at":"eq.infinity"},{"done":"gt.true"}):
        await go(user1,"query_table",table="notes",filter=f,limit=1)
    await go(user1,"query_table",table="notes",order=",".join(["id"]*3000),limit=1)
    await go(user1,"query_table",table="notes",offset=2**53,limit=1)
    await go(user1,"query_table",table="notes",filter={"id":{"in":list(range(40000))}},limit=1)
    await go(user1,"insert_record",table="notes",data={"title":"a\x00b"})
    await go(user1,"insert_record",table="notes",data={"title":{"x":1}})
    await go(user1,"insert_record",table="notes",data={"title":"z","tags":{"a":1}})
    await go(user1,"insert_record",table="notes",data={"title":"z","rank":1.5})
    await go(user1,"insert_record",table="notes",data={"title":"z","rank":10**30})
    await go(user1,"insert_record",table="notes",data={"title":"z","price":1e300})
    await go(user1,"insert_record",table="notes",data={"id":1,"title":"mine"}, on_conflict="id")
    await go(user2,"insert_record",table="notes",data={"id":1,"title":"mine"}, on_conflict="id")
    await go(user2,"insert_record",table="notes",data={"id":1,"title":"mine"}, on_conflict="id", on_conflict_action="ignore")
    await go(user2,"insert_record",table="notes",data={"id":1,"title":"mine"})
    await go(user2,"insert_record",table="notes",data={"title":"mine"}, on_conflict="rank")
    await go(user2,"insert_record",table="notes",data={"title":"mine"}, on_conflict="secret")
    await go(user2,"insert_record",table="notes",data={"title":"x","user_id":"00000000-0000-4000-8000-000000000001"})
    await go(user2,"update_record",table="notes",data={"title":"user2 note 2"},filter={"id":101})
    await go(user2,"insert_record",table="comments",data={"note_id":1,"body":"x"})
    await go(user2,"insert_record",table="comments",data={"note_id":77777,"body":"x"})
    for u in ("fluxbase://schema/tables?offset=²","fluxbase://schema/tables?offset=٣","fluxbase://schema/tables?offset=-1","fluxbase://schema/tables/public/ungranted","fluxbase://schema/tables/public/nothere","fluxbase://schema/tables/auth/api_keys","fluxbase://schema/tables/public/notes%00","fluxbase://schema/tables/%70ublic/notes", None, 5, "x"*100):
        r = await user1.post({"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":u}})
        print(r.status_code, u, r.text[:200])
    assert 0
