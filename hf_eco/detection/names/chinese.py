"""The characters that Chinese writes the names of foreigners with."""

from __future__ import annotations

# A name seldom begins or ends between two of these.
TRANSCRIBING = frozenset(
    "阿埃艾奥巴贝彼鲍勃伯布达丹德邓狄迪蒂顿多厄恩尔菲费弗夫戈格根哈赫亨霍基吉加贾杰卡凯科克肯拉莱兰朗勒雷里利莉丽琳卢"
    "鲁伦罗洛马玛迈麦曼梅蒙米密莫默姆穆娜纳奈内尼涅努诺欧帕佩皮珀普奇齐乔切丘萨塞赛桑森沙莎施史舒斯丝苏索塔泰坦汤唐特滕廷"
    "图托瓦万威韦维温翁沃乌武西希锡夏谢辛欣休逊雅亚耶伊尤约泽扎詹茨兹"
)
# Nor between two of these in a name whose words a dot separates.
TRANSCRIBING_WITH_DOTS = TRANSCRIBING | frozenset(
    "安昂本班保毕宾波查察戴道登东杜范芬丰冯佛福盖甘贡古瓜海汉翰豪惠季金京居君康考孔库奎昆赖劳乐黎李连廉良列林龙隆路吕略芒茅"
    "门孟明摩南牛纽农潘庞彭钱青屈让热荣儒瑞若珊尚邵绍舍申圣石松宋孙台陶魏夏香肖晓星雄许薛雪勋延扬杨叶因英云赞曾占昭芝朱卓宗"
    "祖佐治娅婭妮茱茨什科柯可华沙波洛泰格奇逊厉留柳卫"
    "亞瑪麥內爾羅盧魯倫賓畢達鄧費華傑賈凱萊蘭萬韋維溫烏錫謝約澤詹茲納奧歐葉馬邁諾貝鮑勞樂龍呂門紐農龐錢讓熱榮瓊聖孫陶衛遜揚"
    "楊雲贊蘇喬齊絲湯頓菲佛恩薩賽桑漢蓋東馮範貢庫賴連紹許薛勳鄔費彌貢杰翰緒遜"
)
# What some of them stand for in names whose words a dot separates, where that is not how they are read otherwise: of
# 斯 and 尔 the consonant alone; in 约翰 and 乔治 (John, George) what other dialects read.
_SOUNDS = """
s=斯丝絲史 z=兹茲 c=茨 t=特 d=德 k=克 g=格 p=普 f=夫弗佛 m=姆 l=尔爾儿兒 S=什施 J=治
a=亚亞 o=奥奧欧歐 an=翰 wa=华華 wi=威维維 we=韦韋 bo=博波鲍鮑 be=伯贝貝 berg=堡 do=多 to=托 lo=罗羅洛 no=诺諾 mo=莫
so=索 zo=佐 ko=科柯 go=戈 ho=霍 wo=沃 ga=加 ne=内內 e=埃 pe=佩 re=雷 len=伦倫 ri=瑞芮 me=梅
Ce=切 ki=基 Gi=吉 Je=杰傑 Ja=贾賈 Jo=乔喬卓 Jon=琼瓊 Jem=詹 jo=约約 yu=尤 Cu=丘 Sa=夏 Se=谢謝 So=肖蕭 hu=休 Su=修
za=扎 ci=齐齊 Zo=若 Zu=儒 san=圣聖 son=逊遜 sin=辛 si=西锡錫
"""
TRANSCRIBED = {
    character: sounds
    for sounds, characters in (part.split("=") for part in _SOUNDS.split())
    for character in characters
}
