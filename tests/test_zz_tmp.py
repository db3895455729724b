import time, os, cProfile, pstats
from pathlib import Path
from test_mutations import *
def server_cpu(databases):
    with databases.maintenance() as con: pid=con.execute("select pg_backend_pid()").fetchone()[0]
    pm=int(Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[1]) if Path(f"/proc/{pid}/stat").exists() else None
    return pm
def test_t(databases, after, capsys):
    with capsys.disabled():
        with databases.maintenance() as con:
            pid=con.execute("select pg_backend_pid()").fetchone()[0]
            pm=int(Path(f"/proc/{pid}/stat").read_text().rsplit(")",1)[1].split()[1])
            con.execute("alter system set fsync=off"); con.execute("alter system set autovacuum=off");con.execute("select pg_reload_conf()")
        def cpu():
            f=Path(f"/proc/{pm}/stat").read_text().rsplit(")",1)[1].split(); return [int(x)/100 for x in f[11:15]]
        prof=cProfile.Profile()
        T=[0]*5; a=cpu(); p0=time.process_time(); w=time.time(); prof.enable()
        for k in range(40):
            t0=time.time(); c=databases.copy(after[""]); t1=time.time()
            with databases.maintenance(c.name.removeprefix("embedded/")) as con: con.execute("ALTER TABLE tenants ADD x int")
            t2=time.time(); judge(c, ["8b.S.1"]); t3=time.time(); judge(c,["R.4.1"]); t4=time.time(); databases.drop(c); t5=time.time()
            for i,(x,y) in enumerate([(t0,t1),(t1,t2),(t2,t3),(t3,t4),(t4,t5)]): T[i]+=(y-x)/40
        prof.disable()
        b=cpu()
        print("WALL per case", (time.time()-w)/40, "client cpu", (time.process_time()-p0)/40, "server cpu (reaped children)", [(y-x)/40 for x,y in zip(a,b)])
        print("copy mutate 8b R drop", [round(t,3) for t in T])
        pstats.Stats(prof).sort_stats('cumtime').print_stats(60)
