"""``init``: a site file in which every key is explained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.text import say, tr
from event.errors import ConfigError

_TEMPLATE = """\
# 剑门站点文件 / Jianmen site file
# 未知的项目请保留注释：报告会将其列为“待补充”。
# Leave what you do not know commented out: reports list it as to be supplied.

# language = "zh"            # 报告语言 zh 或 en / language of reports
# store = "store"            # 事件库目录（相对本文件），或集群地址 / folder of the event store, or address of a cluster
# rules = ["my-rules"]       # 附加的 Sigma 规则目录 / folders with further Sigma rules
regimes = ["cac-2025"]       # 适用的报告制度 / reporting regimes that apply

[operator]                   # 运营者（涉事单位） / the unit that operates the networks
# name = "某某供水有限公司"    # 单位名称 / name
# credit_code = ""           # 统一社会信用代码，18 位（GB 32100） / unified social credit code
# sector = "water"           # government oil_gas_pipeline power water transport urban telecom finance other
# kind = "cii"               # cii 关键信息基础设施运营者 | state_organ 中央和国家机关 | other 其他网络运营者
# region_code = "510100"     # 行政区划代码（GB/T 2260） / administrative division
# address = ""               # 地址 / address
# contact_name = ""          # 联系人 / contact
# contact_phone = ""         # 联系电话 / phone
# duty_phone = ""            # 24 小时值班电话 / duty phone
# protection_department = "" # 保护工作部门 / sector department in charge of CII protection
# mlps_level = 3             # 网络安全等级保护级别 1-5 / MLPS level
# mlps_filing = ""           # 等保备案号 / MLPS filing number

# [[segments]]               # 网段，可重复 / a network segment; repeat as needed
# name = "控制网"
# cidrs = ["10.20.1.0/24"]
# sector = "water"
# purdue_level = 2           # 普渡模型层级 0-5 / Purdue level
# power_zone = "I"           # 电力监控系统安全区 I II III IV / power safety zone
# system = "取水泵站监控系统"  # 业务系统 / business system

# [[assets]]                 # 资产，可重复 / a known asset; repeat as needed
# ip = "10.20.1.10"
# name = "1号泵 PLC"
# hosts = ["ews01"]          # 日志中的主机名 / what its logs call it
# role = "plc"               # master engineering_station hmi plc rtu ied historian gateway server
# vendor = ""
# model = ""
# importance = "critical"    # normal 一般 | important 重要 | critical 特别重要
# masters = ["10.20.1.20"]   # 允许对其下发控制的主站 / who may send controls to it

# [[conduits]]               # 允许的跨网段通道；一旦登记，其余均视为未登记 / permitted ways between segments
# client = "控制网"           # 发起方网段 / segment of who connects; once one is declared, all others are not
# server = "控制网"           # 响应方网段 / segment of who answers
# protocols = ["modbus"]     # 留空为全部 / all if left out
# control = true             # 允许写入和控制，否则只读 / writes and controls may pass, else only reading

# [[limits]]                 # 设定值工程限值 / engineering limits of what is written to a point
# ip = "10.20.1.10"          # 设备 / device
# protocol = "modbus"        # modbus iec104 dnp3 s7comm
# point = 100                # 寄存器、信息体地址、点号，S7 用 "DB2.DBD4" / register, object address, index; S7: "DB2.DBD4"
# unit = 1                   # 单元号、公共地址或从站地址 / unit, common address or outstation
# low = 0
# high = 4000
# real = false               # S7：四字节为 REAL / S7: the four bytes are a REAL
# name = "出口压力设定值"      # 点名 / what it is

# [noise]                    # 告警限额：超出部分降级，不丢弃 / alert budget: what is over is demoted, never dropped
# shift_hours = 8            # 每班小时数 / hours of a shift
# shift_begins = "08:00"     # 首班开始时间（北京时间） / when the first shift begins, Beijing time
# alerts_per_shift = 200     # 每班可处置的告警数，0 为不限 / alerts that a shift can look at; 0: no budget
# alerts_per_rule = 20       # 每条规则每班至少可有的告警数 / what each rule has at least

# [sensor]                   # 本机传感器（jianmen sensor run） / the sensor of this host
# interfaces = ["eth1"]      # 采集的网络接口 / interfaces to capture
# follow = ["/var/log/zeek/*.log"]   # 随写随读的日志，可写作 类型:路径 / logs read as they grow; KIND:PATH names what one is
# syslog = ["udp:0.0.0.0:514"]       # 监听 syslog：udp、tcp、tls / where to listen for syslog
# tls_certificate = ""       # TLS 监听的证书、私钥；tls_clients 为客户端签发机构 / certificate, key; authorities of clients
# tls_key = ""
# tls_clients = ""
# spool = "spool"            # 先写本地缓存 / write to a spool first
# spool_limit = "20G"        # 本地缓存容量上限 / what the spool may take
# forward = true             # 同时将本地缓存转发至事件库 / ship the spool to the store meanwhile
# flush_seconds = 5          # 入库间隔，秒 / seconds until events are durable
# promiscuous = true         # 混杂模式 / also frames that are not for this host
# ring_mb = 64               # 每个接口的环形缓冲 MiB / ring of each interface

# [retention_days]           # 留存天数，不少于 180 / days to keep, 180 at least
# "*" = 180
# flow = 365
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("init", help=tr("Write a site file with every key explained.", "生成站点文件，逐项附有说明。"))(init)


def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]")] = Path("jianmen.toml"),
    force: Annotated[bool, typer.Option("--force", help=tr("Overwrite.", "覆盖已有文件。"))] = False,
) -> None:
    """See ``register``."""
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(_TEMPLATE)
    except FileExistsError:
        raise ConfigError("the file exists already", where=str(file), hint="--force overwrites it") from None
    except OSError as error:
        raise ConfigError(f"cannot write the site file: {error.strerror}", where=str(file)) from None
    say(
        tr(
            f"{file} written: fill in what you know, the rest stays to be supplied",
            f"已生成 {file}：请填写已知项，其余在报告中列为待补充",
        )
    )
