"""What each script does to the sounds of a name that comes from another."""

from __future__ import annotations

from .sounds import Distances

_VOICED = "pb.05 td.05 kg.05 "
DISTANCES = {
    "latin": Distances(gap=0.3),
    "cyrillic": Distances("hg.05 hx.05 sS.15 Jz.2 wv.05 Tt.05 Tf.2 cz.2 cs.2 jZ.05 GZ.1 yi.05", "h.3", gap=0.3),
    "greek": Distances("sS.05 zZ.05 Cc.0 CS.1 Jc.1 Jz.1 hx.05 Zz.05 wv.1 wg.3 gG.0 gh.2", gap=0.3, unheard="bdgptk"),
    "arabic": Distances(
        "pb.0 vf.0 vw.05 gk.1 gJ.1 CS.1 sS.2 wu.0 wo.0 yi.0 ye.0 ya.2 wa.2 ai.15 ae.1 hx.1 Tt.1 zs.15 "
        "ha.1 kx.1 sc.2 cz.2 wf.2",
        "a.03 e.03 i.08 o.08 u.08",
        "w.15 y.15 a.15 h.3",
        gap=0.3,
        article="al",
    ),
    "hebrew": Distances(
        "pf.0 vb.0 vw.0 kx.0 sS.1 wu.0 wo.0 yi.0 ye.0 ya.2 wa.2 va.3 vo.0 vu.0 tT.05 hx.1 ha.1 Cc.1 zs.2 sc.1",
        "a.03 e.03 i.08 o.08 u.08",
        "w.15 v.2 y.15 a.15 h.2",
        gap=0.3,
    ),
    "indic": Distances("vw.0 pf.05 zJ.05 Tt.0 sS.2 Zz.1 ZJ.1 ZS.2 zs.1 CJ.5 ck.4 kx.05 gx.2 vb.2", "h.2", gap=0.3),
    "thai": Distances(
        _VOICED + "lr.15 vw.0 zs.0 zS.1 SC.05 JC.05 JZ.05 Ts.1 Tt.05 sC.2 fp.2 ds.4 ld.4", "h.3 r.15", gap=0.6
    ),
    "hangul": Distances(
        _VOICED
        + "lr.0 fp.0 vb.0 wv.3 wb.1 zJ.05 sJ.25 sc.1 zs.2 cC.05 sS.0 Zz.1 ZJ.05 CJ.1 oe.08 oa.1 ou.1 Ts.05 Td.05 "
        "Tt.05 xh.05 Sy.3 yi.05 fh.2 cJ.2 ck.4 SJ.4",
        "l.4 r.08",
        "u.05 i.08 o.15 e.1 l.3 y.1",
        gap=0.1,
        vowel=0.4,
    ),
    "kana": Distances(
        "lr.0 vb.0 sc.1 sJ.3 Ts.0 Tt.1 sS.05 fh.15 tC.15 tc.05 zJ.05 dJ.1 dz.1 Td.1 Tz.05 xh.0 ck.4 wv.05 "
        "cC.2 zc.1 Jc.2 yi.0 ea.1 oa.12 nm.1",
        "l.6 r.08",
        "u.05 o.05 i.08 e.15 a.12 h.3 y.1",
        gap=0.1,
        vowel=0.4,
    ),
    "han": Distances(
        _VOICED + "lr.0 vw.0 vf.1 sS.1 Ts.05 Tt.1 zs.1 zS.15 zJ.1 zC.2 zc.1 CJ.05 Cc.1 CS.1 sc.1 JS.2 Js.2 jC.1 jy.05 "
        "kJ.1 gJ.1 kC.1 wu.0 "
        "hx.0 hS.2 hf.2 nm.15 nN.0 mN.2 Zr.1 Zl.1 rZ.1 wf.2 GS.3 Gk.2 tC.3 cS.15 sC.2",
        "l.5 n.4 r.08",
        "u.08 i.08 e.08 o.12 a.15 r.25 l.4 y.1 w.1",
        gap=0.0,
        vowel=0.4,
    ),
}
DISTANCES["hiragana"] = DISTANCES["kana"]

# What may become of the consonants of a name, by class; "" for nothing.
_ENGLISH: dict[str, tuple[str, ...]] = {
    "h": ("",), "w": ("",), "y": ("",), "G": ("S", "K"), "j": ("S", "", "K"), "H": ("S", "K"), "T": ("T", "S"),
    "N": ("N",), "Q": ("S", "K"), "t$": ("T", ""), "d$": ("T", ""), "s$": ("S", ""),
}  # fmt: skip
OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "cyrillic": _ENGLISH | {"h": ("K", ""), "w": ("", "P"), "N": ("NK",), "T": ("T",)},
    "greek": _ENGLISH | {"h": ("K", ""), "w": ("", "K"), "N": ("K", "NK"), "T": ("T",), "n~": ("",), "m~": ("",)},
    "arabic": _ENGLISH | {"w": ("", "P"), "N": ("NK", "N"), "v": ("P", ""), "J": ("S", "K"), "T": ("T",)},
    "hebrew": _ENGLISH | {"t~": ("T", ""), "h": ("", "K"), "w": ("",), "v": ("", "P"), "N": ("NK",), "T": ("T",)},
    "indic": _ENGLISH | {"w": ("P", ""), "N": ("NK", "N"), "T": ("T",)},
    "thai": _ENGLISH | {"r-": ("", "R"), "v": ("", "P"), "N": ("N",)},
    "hangul": _ENGLISH
    | {"w": ("", "P"), "t~": ("T", ""), "H": ("S", "K", ""), "m~": ("N", "M"), "r-": ("", "R"), "N": ("N",)},
    "kana": _ENGLISH
    | {
        "w": ("", "P"),
        "t~": ("T", ""),
        "tu": ("T", "S"),
        "H": ("S", "K", ""),
        "m~": ("N", "M"),
        "r-": ("", "R"),
        "N": ("NK", "N"),
        "f": ("P", ""),
        "T": ("S", "T"),
    },
    "han": _ENGLISH
    | {
        "m$": ("M", "N"),
        "t~": ("T", ""),
        "N": ("N", "NK"),
        "H": ("S", "K", ""),
        "m~": ("N", "M"),
        "r-": ("", "R"),
        "v": ("", "P"),
        "T": ("S", "T"),
    },
}
OPTIONS["hiragana"] = OPTIONS["kana"]
OPTIONS["latin"] = {}
# What the consonants of a text in a script may stand for.
HEARD: dict[str, dict[str, tuple[str, ...]]] = {
    "arabic": {"J": ("S", "K")},
    "han": {"J": ("S", "K"), "G": ("S", "K"), "j": ("S", ""), "S": ("S", ""), "nm": ("",), "Nm": ("",)},
    "latin": _ENGLISH,
}
UNVOWELLED = frozenset(("arabic", "hebrew"))
R_IS_LOST = frozenset(("han", "hangul", "kana", "hiragana"))  # before consonants and at the end
