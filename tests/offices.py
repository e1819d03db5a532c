"""Made-up patents in the layouts in which offices publish them, for tests of the formats."""

from __future__ import annotations

ABSTRACT = "A device number {n} for testing, with a housing of Al<sub>2</sub>O<sub>3</sub>, a shaft and a motor."
PLAIN = "A device number {n} for testing, with a housing of Al2O3, a shaft and a motor."


def docdb(n: int, abstract: str = ABSTRACT, extra: str = "") -> str:
    """One ``exch:exchange-document`` of DOCDB's bulk data."""
    return f"""<exch:exchange-document country="CN" doc-number="{110000000 + n}" kind="A" doc-id="1"
 date-publ="20190716"
 family-id="{500 + n}" is-representative="YES" originating-office="EP">
 <exch:bibliographic-data>
  <exch:publication-reference data-format="docdb"><document-id lang="zh"><country>CN</country>
   <doc-number>{110000000 + n}</doc-number><kind>A</kind>
<date>20190716</date></document-id></exch:publication-reference>
  <exch:publication-reference data-format="original"><document-id><doc-number>CN {110000000 + n} A</doc-number>
   </document-id></exch:publication-reference>
  <exch:classifications-ipcr>
   <classification-ipcr sequence="1">
    <text>G06T   3/40        20060101AFI20190716BMCN        </text></classification-ipcr>
   <classification-ipcr sequence="2">
    <text>H04N   5/232       20060101ALI20190716BMCN        </text></classification-ipcr>
  </exch:classifications-ipcr>
  <exch:patent-classifications>
   <patent-classification sequence="1"><classification-scheme office="EP" scheme="CPCI"><date>20130101</date>
    </classification-scheme><classification-symbol>G06T   3/4053      </classification-symbol>
    <symbol-position>F</symbol-position><classification-value>I</classification-value></patent-classification>
   <patent-classification sequence="2"><classification-scheme office="JP" scheme="FI"/>
    <classification-symbol>G06T3/40@710</classification-symbol></patent-classification>
   <patent-classification sequence="3"><classification-scheme office="JP" scheme="FTERM"/>
    <classification-symbol>5B057CD05</classification-symbol></patent-classification>
  </exch:patent-classifications>
  <exch:parties><exch:applicants>
   <exch:applicant sequence="1" data-format="docdb"><exch:applicant-name><name>ALPHA TECH CO LTD</name>
    </exch:applicant-name><residence><country>CN</country></residence></exch:applicant>
   <exch:applicant sequence="1" data-format="original"><exch:applicant-name><name>阿尔法科技有限公司</name>
    </exch:applicant-name></exch:applicant>
  </exch:applicants></exch:parties>
  <exch:invention-title lang="en" data-format="docdba">Test device {n}</exch:invention-title>
  <exch:invention-title lang="zh" data-format="original">测试装置{n}</exch:invention-title>
  <exch:references-cited>
   <exch:citation cited-phase="SEA" sequence="1"><patcit num="1" dnum-type="publication number"><document-id>
    <country>US</country><doc-number>2004097263</doc-number><kind>A1</kind><name>BETA</name></document-id></patcit>
    <category>X</category></exch:citation>
   <exch:citation sequence="2"><nplcit num="1"><text>A book, 2001</text></nplcit></exch:citation>
  </exch:references-cited>
 </exch:bibliographic-data>
 <exch:abstract lang="en" data-format="docdba" abstract-source="national office"><exch:p>{abstract.format(n=n)}</exch:p>
 </exch:abstract>{extra}
</exch:exchange-document>"""


def docdb_file(*documents: str) -> str:
    """A delivery of DOCDB with these documents."""
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n'
        '<!DOCTYPE exch:exchange-documents SYSTEM "docdb-entities.dtd">\n'
        '<exch:exchange-documents xmlns:exch="http://www.epo.org/exchange" date-of-exchange="20190725"'
        ' dtd-version="2.5.9"'
        f' no-of-documents="{len(documents)}" originating-office="EP">\n'
        + "\n".join(documents)
        + "\n</exch:exchange-documents>\n"
    )


def ops_document(n: int) -> str:
    """One ``exchange-document`` as Open Patent Services answer it."""
    return f"""<exchange-document system="ops.epo.org" family-id="{700 + n}" country="EP" doc-number="{3000000 + n}"
 kind="A1">
 <bibliographic-data>
  <publication-reference>
   <document-id document-id-type="docdb"><country>EP</country><doc-number>{3000000 + n}</doc-number><kind>A1</kind>
    <date>20160323</date></document-id>
   <document-id document-id-type="epodoc"><doc-number>EP{3000000 + n}</doc-number><date>20160323</date></document-id>
  </publication-reference>
  <classifications-ipcr><classification-ipcr sequence="1">
<text>H04W  84/    20            A I                    </text>
  </classification-ipcr></classifications-ipcr>
  <patent-classifications><patent-classification sequence="1"><classification-scheme office="EP" scheme="CPCI"/>
   <section>H</section><class>04</class><subclass>W</subclass><main-group>88</main-group><subgroup>04</subgroup>
   <classification-value>I</classification-value><generating-office>US</generating-office></patent-classification>
  </patent-classifications>
  <parties><applicants>
   <applicant sequence="1" data-format="epodoc"><applicant-name>
<name>GAMMA OY\u2002[FI]</name></applicant-name></applicant>
   <applicant sequence="1" data-format="original"><applicant-name><name>Gamma Oy, </name></applicant-name></applicant>
  </applicants></parties>
  <invention-title lang="fr">Dispositif de test</invention-title>
  <invention-title lang="en">TEST DEVICE {n}</invention-title>
  <references-cited><citation cited-phase="national-search-report" sequence="1"><patcit num="1">
   <document-id document-id-type="epodoc"><doc-number>WO02054790</doc-number></document-id>
   <document-id document-id-type="docdb"><country>WO</country><doc-number>02054790</doc-number>
<kind>A2</kind></document-id>
  </patcit></citation></references-cited>
 </bibliographic-data>
 <abstract lang="en"><p>{PLAIN.format(n=n)}</p></abstract>
</exchange-document>"""


def ops_file(*documents: str) -> str:
    """An answer of Open Patent Services."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><?xml-stylesheet type="text/xsl" href="/style/exchange.xsl"?>\n'
        '<ops:world-patent-data xmlns="http://www.epo.org/exchange" xmlns:ops="http://ops.epo.org"'
        ' xmlns:xlink="http://www.w3.org/1999/xlink"><exchange-documents>\n'
        + "\n".join(documents)
        + "\n</exchange-documents></ops:world-patent-data>\n"
    )


def grant(n: int, abstract: str = ABSTRACT, extra: str = "") -> str:
    """A US grant since 2005, with its declarations."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE us-patent-grant SYSTEM "us-patent-grant-v45-2014-04-03.dtd" [ ]>
<us-patent-grant lang="EN" dtd-version="v4.5 2014-04-03" file="US0{8000000 + n}-20150106.XML" country="US"
 date-produced="20141220" date-publ="20150106">
<us-bibliographic-data-grant>
<publication-reference><document-id><country>US</country><doc-number>0{8000000 + n}</doc-number><kind>B2</kind>
<date>20150106</date></document-id></publication-reference>
<application-reference appl-type="utility"><document-id><country>US</country><doc-number>13648029</doc-number>
<date>20121009</date></document-id></application-reference>
<classifications-ipcr><classification-ipcr><ipc-version-indicator><date>20060101</date></ipc-version-indicator>
<classification-level>A</classification-level><section>G</section><class>06</class><subclass>F</subclass>
<main-group>15</main-group><subgroup>16</subgroup></classification-ipcr></classifications-ipcr>
<classifications-cpc><main-cpc><classification-cpc><section>H</section><class>04</class><subclass>L</subclass>
<main-group>67</main-group><subgroup>146</subgroup></classification-cpc></main-cpc><further-cpc><classification-cpc>
<section>H</section><class>04</class><subclass>L</subclass><main-group>65</main-group><subgroup>1006</subgroup>
</classification-cpc></further-cpc></classifications-cpc>
<classification-national><country>US</country>
<main-classification>709228</main-classification></classification-national>
<invention-title id="d2e53">Test device {n} with a <i>motor</i></invention-title>
<us-references-cited>
<us-citation><patcit num="00001"><document-id><country>US</country><doc-number>7844851</doc-number><kind>B2</kind>
<name>Delta et al.</name><date>20101100</date></document-id></patcit><category>cited by applicant</category>
<classification-cpc-text>A01B 1/00</classification-cpc-text></us-citation>
<us-citation><patcit num="00002"><document-id><country>US</country><doc-number>2007/0140112</doc-number><kind>A1</kind>
<date>20070600</date></document-id></patcit></us-citation>
<us-citation><nplcit num="00003"><othercit>A talk, 2001</othercit></nplcit></us-citation>
</us-references-cited>
<us-field-of-classification-search><classification-cpc-text>B62D 1/00</classification-cpc-text>
</us-field-of-classification-search>
<us-parties><us-applicants><us-applicant sequence="001" app-type="applicant-inventor"><addressbook>
<last-name>Doe</last-name><first-name>Jane</first-name></addressbook></us-applicant></us-applicants></us-parties>
<assignees><assignee><addressbook><orgname>Delta &amp; Sons Corporation</orgname><role>02</role></addressbook>
</assignee></assignees>
</us-bibliographic-data-grant>
<abstract id="abstract"><p id="p-0001" num="0000">{abstract.format(n=n)}</p></abstract>
<description id="description">
<?BRFSUM description="Brief Summary" end="lead"?>
<heading id="h-0001" level="1">FIELD OF THE INVENTION</heading>
<p id="p-0002" num="0001">The invention is about testing.</p>
<?BRFSUM description="Brief Summary" end="tail"?>
</description>
<us-claim-statement>What is claimed is:</us-claim-statement>
<claims id="claims">
<claim id="CLM-00001" num="00001"><claim-text>1. A device, comprising:
<claim-text>(a) a housing; and</claim-text><claim-text>(b) a shaft.</claim-text></claim-text></claim>
<claim id="CLM-00002" num="00002"><claim-text>2. The device of <claim-ref idref="CLM-00001">claim 1</claim-ref>, wherein
it runs.</claim-text></claim>
</claims>{extra}
</us-patent-grant>
"""


def application(n: int) -> str:
    """A US application of 2005."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE us-patent-application SYSTEM "us-patent-application-v40-2004-12-02.dtd" [ ]>
<us-patent-application lang="EN" dtd-version="v4.0 2004-12-02" country="US" date-publ="20050106">
<us-bibliographic-data-application lang="EN" country="US">
<publication-reference><document-id><country>US</country><doc-number>2005000{4000 + n}</doc-number><kind>A1</kind>
<date>20050106</date></document-id></publication-reference>
<classification-ipc><edition>07</edition><main-classification>A61B005/00</main-classification>
<further-classification>G06F017/60</further-classification></classification-ipc>
<invention-title id="d0e103">Test device {n}</invention-title>
<parties><applicants><applicant sequence="00" app-type="applicant-inventor"><addressbook><last-name>Doe</last-name>
<first-name>Jane</first-name></addressbook></applicant></applicants></parties>
</us-bibliographic-data-application>
<abstract id="abstract"><p id="A-0001" num="none">{PLAIN.format(n=n)}</p></abstract>
<claims id="claims"><claim id="CLM-00001" num="00001"><claim-text><b>1</b>. A device. </claim-text></claim></claims>
</us-patent-application>
"""


def patdoc(n: int) -> str:
    """A US grant of 2002."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE PATDOC SYSTEM "ST32-US-Grant-025xml.dtd" [
<!ENTITY US0{6336000 + n}-20020101-D00000.TIF SYSTEM "US0{6336000 + n}-20020101-D00000.TIF" NDATA TIF>
]>
<PATDOC DTD="2.5" STATUS="Build 20020101">
<SDOBI>
<B100><B110><DNUM><PDAT>0{6336000 + n}</PDAT></DNUM></B110><B130><PDAT>B1</PDAT></B130>
<B140><DATE><PDAT>20020101</PDAT></DATE></B140><B190><PDAT>US</PDAT></B190></B100>
<B500><B510><B511><PDAT>G06F 1516</PDAT></B511><B512><PDAT>G06F  300</PDAT></B512><B516><PDAT>7</PDAT></B516></B510>
<B540><STEXT><PDAT>Test device {n}</PDAT></STEXT></B540>
<B560><B561><PCIT><DOC><DNUM><PDAT>5825759</PDAT></DNUM><DATE><PDAT>19981000</PDAT></DATE><KIND><PDAT>A</PDAT></KIND>
</DOC></PCIT><CITED-BY-EXAMINER/></B561><B561><PCIT><DOC><DNUM><PDAT>96/25012</PDAT></DNUM><CTRY><PDAT>WO</PDAT></CTRY>
</DOC></PCIT></B561></B560></B500>
<B700><B720><B721><PARTY-US><NAM><FNM><PDAT>Jane</PDAT></FNM><SNM><STEXT><PDAT>Doe</PDAT></STEXT></SNM></NAM></PARTY-US>
</B721></B720><B730><B731><PARTY-US><NAM><ONM><STEXT><PDAT>Delta &amp; Sons</PDAT></STEXT></ONM></NAM></PARTY-US></B731>
</B730></B700>
</SDOBI>
<SDOAB><BTEXT><PARA ID="P-00001" LVL="0"><PTEXT><PDAT>A device number {n} of </PDAT><HIL><ITALIC
><PDAT>H</PDAT></ITALIC></HIL><HIL><SB><PDAT>2</PDAT></SB></HIL
><PDAT>O, &agr; &lsqb;1&rsqb; &ldquo;x&rdquo;.</PDAT></PTEXT></PARA></BTEXT></SDOAB>
<SDODE><BRFSUM><BTEXT><H LVL="1"><STEXT><PDAT>FIELD</PDAT></STEXT></H>
<PARA ID="P-00003" LVL="0"><PTEXT><PDAT>About testing.</PDAT></PTEXT></PARA></BTEXT></BRFSUM></SDODE>
<SDOCL><H LVL="1"><STEXT><PDAT>What is claimed is:</PDAT></STEXT></H><CL><CLM ID="CLM-00001"><PARA ID="P-00062" LVL="0">
<PTEXT><PDAT>1. A device, comprising:</PDAT></PTEXT></PARA><CLMSTEP LVL="2"><PTEXT>
<PDAT>a housing.</PDAT></PTEXT></CLMSTEP>
</CLM><CLM ID="CLM-00002"><PARA ID="P-00063" LVL="0"><PTEXT><PDAT>2. The device of </PDAT><CLREF ID="CLM-00001">
<PDAT>claim 1
</PDAT></CLREF><PDAT>, which runs.</PDAT></PTEXT></PARA></CLM></CL></SDOCL>
</PATDOC>
"""


def application_2001(n: int) -> str:
    """A US application of 2001."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE patent-application-publication SYSTEM "pap-v15-2001-01-31.dtd" []>
<patent-application-publication>
<subdoc-bibliographic-information>
<document-id><doc-number>2001000{1000 + n}</doc-number><kind-code>A1</kind-code><document-date>20010315</document-date>
</document-id>
<technical-information><classification-ipc><classification-ipc-primary>
<ipc>G06F017/60</ipc></classification-ipc-primary>
<classification-ipc-secondary><ipc>H04L009/00</ipc></classification-ipc-secondary>
<classification-ipc-edition>07</classification-ipc-edition></classification-ipc>
<title-of-invention> Test device {n}
</title-of-invention></technical-information>
<assignee><organization-name>DELTA CORP.</organization-name></assignee>
</subdoc-bibliographic-information>
<subdoc-abstract><heading lvl="0">Abstract of Disclosure</heading>
<paragraph id="A-00001" lvl="0">{PLAIN.format(n=n)}</paragraph></subdoc-abstract>
<subdoc-description><section><heading lvl="0">Background</heading><paragraph id="P-00001" lvl="0">
<number>1.</number> About
testing.</paragraph></section></subdoc-description>
<subdoc-claims><heading lvl="0">Claims</heading>
<claim id="CLM-00001"><claim-text><highlight><bold>1.</bold></highlight> A device comprising:</claim-text>
<claim-text>a housing.</claim-text></claim>
<claim id="CLM-00002"><claim-text>2. The device of claim 1.</claim-text></claim></subdoc-claims>
</patent-application-publication>
"""


def green_book(n: int) -> str:
    """A US grant of 1976 as labelled text."""
    return f"""PATN
WKU  0{3932000 + n}4
SRC  5
APN  4491556
APT  1
TTL  Test device {n}
      of two lines
ISD  19760113
INVT
NAM  Doe; Jane
CTY  Tiburon
ASSG
NAM  Delta Incorporated
COD  02
CLAS
OCL  179 90K
ICL  H04M 1100
ICL  G06F  728
FSC  179
UREF
PNO  3518629
ISD  19700600
NAM  Frankel
OCL  340172.5
FREF
PNO  1,234,567
ISD  19700600
CNT  GBX
ABST
PAL  A device number {n} for testing at 10.degree. C., with a housing
      and a shaft.
BSUM
PAC  BACKGROUND OF THE INVENTION
PAR  The invention is about testing.
CLMS
STM  What is claimed is:
NUM  1.
PAR  1. A device comprising:
PA1  a. a housing; and
PA1  b. a shaft.
NUM  2.
PAR  2. The device of claim 1.
"""


def cnipa(n: int) -> str:
    """A publication of the CNIPA."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<business:PatentDocumentAndRelated xmlns:base="http://www.sipo.gov.cn/XMLSchema/base"
 xmlns:business="http://www.sipo.gov.cn/XMLSchema/business" xsdVersion="V2.2.1" dateProduced="20190715" status="C"
 lang="zh" country="CN" docNumber="{110000000 + n}" kind="A" datePublication="20190716">
<business:BibliographicData lang="zh" country="CN">
<business:PublicationReference sequence="1" dataFormat="standard"><base:DocumentID>
<base:WIPOST3Code>CN</base:WIPOST3Code>
<base:DocNumber>{110000000 + n}</base:DocNumber><base:Kind>A</base:Kind><base:Date>20190716</base:Date>
</base:DocumentID>
</business:PublicationReference>
<business:ApplicationReference applType="10" sequence="1"><base:DocumentID><base:WIPOST3Code>CN</base:WIPOST3Code>
<base:DocNumber>201910000001.6</base:DocNumber><base:Date>20190102</base:Date></base:DocumentID>
</business:ApplicationReference>
<business:ClassificationIPCRDetails><business:ClassificationIPCR sequence="1"><base:IPCVersionDate>20060101
</base:IPCVersionDate><base:Section>G</base:Section><base:MainClass>06</base:MainClass><base:Subclass>T</base:Subclass>
<base:MainGroup>3</base:MainGroup><base:Subgroup>40</base:Subgroup><base:Text>G06T 3/40 (2006.01)</base:Text>
</business:ClassificationIPCR><business:ClassificationIPCR sequence="2"><base:Text>H04N 5/232 (2006.01)</base:Text>
</business:ClassificationIPCR></business:ClassificationIPCRDetails>
<business:InventionTitle lang="zh" dataFormat="original">测试装置{n}</business:InventionTitle>
<business:Parties><business:ApplicantDetails><business:Applicant sequence="1"><base:AddressBook lang="zh">
<base:Name>阿尔法科技有限公司</base:Name></base:AddressBook></business:Applicant></business:ApplicantDetails>
<business:InventorDetails><business:Inventor sequence="1"><base:AddressBook><base:Name>张三</base:Name>
</base:AddressBook>
</business:Inventor></business:InventorDetails></business:Parties>
<business:ReferencesCited><business:Citation sequence="1"><business:ApplicationCitation><business:PublicationReference>
<base:DocumentID><base:WIPOST3Code>CN</base:WIPOST3Code><base:DocNumber>203232659</base:DocNumber>
<base:Kind>U</base:Kind>
</base:DocumentID></business:PublicationReference></business:ApplicationCitation></business:Citation>
</business:ReferencesCited></business:BibliographicData>
<business:Abstract lang="zh" dataFormat="original">
<base:Paragraphs num="0001">一种编号为{n}的测试装置，包括H<base:Sub>2</base:Sub>O
传感器。</base:Paragraphs></business:Abstract>
<business:Description><business:TechnicalField><base:Heading>技术领域</base:Heading>
<base:Paragraphs num="0001">涉及测试。
</base:Paragraphs></business:TechnicalField></business:Description>
<business:Claims><business:Claim num="1"><business:ClaimText>1. 一种测试装置，包括：</business:ClaimText>
<business:ClaimText>
壳体。</business:ClaimText></business:Claim><business:Claim num="2"><business:ClaimText>2. 根据权利要求1所述的装置。
</business:ClaimText></business:Claim></business:Claims>
</business:PatentDocumentAndRelated>
"""


def ep(n: int) -> str:
    """A European application in full text."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE ep-patent-document PUBLIC "-//EPO//EP PATENT DOCUMENT 1.5//EN" "ep-patent-document-v1-5.dtd">
<ep-patent-document id="EP1" file="EP1NWA1.xml" lang="en" country="EP" doc-number="{3000000 + n}" kind="A1"
 date-publ="20160323" status="n" dtd-version="ep-patent-document-v1-5">
<SDOBI lang="en"><B000><eptags><B001EP>ATBECHDE</B001EP></eptags></B000>
<B100><B110>{3000000 + n}</B110><B120><B121>EUROPEAN PATENT APPLICATION</B121></B120><B130>A1</B130>
<B140><date>20160323</date></B140><B190>EP</B190></B100>
<B500><B510EP><classification-ipcr sequence="1"><text>H04W  84/20        20090101AFI20101004BHEP        </text>
</classification-ipcr></B510EP><B520EP><classifications-cpc><classification-cpc sequence="1">
<text>H04W  88/04        20130101 LA20150105BHEP        </text></classification-cpc></classifications-cpc></B520EP>
<B540><B541>de</B541><B542>Testgerät {n}</B542><B541>en</B541><B542>TEST DEVICE {n}</B542></B540>
<B560><B561><text>WO-A2-02/054790</text></B561><B562><text>A BOOK, 2001</text></B562></B560></B500>
<B700><B710><B711><snm>Gamma Oy</snm><iid>1</iid><adr><city>Oulu</city></adr></B711></B710></B700>
</SDOBI>
<abstract id="abst" lang="en"><p id="pa01" num="0001">{ABSTRACT.format(n=n)}<img id="iaf01" file="imgaf001.tif"/></p>
</abstract>
<description id="desc" lang="en"><heading id="h0001">Field</heading><p id="p0001" num="0001">About testing.</p>
</description>
<claims id="claims01" lang="en"><claim id="c-en-0001" num="0001"><claim-text>A device, comprising:<claim-text>a housing.
</claim-text></claim-text></claim><claim id="c-en-0002" num="0002"><claim-text>The device of claim 1.</claim-text>
</claim>
</claims><claims id="claims02" lang="de"><claim num="0001"><claim-text>Gerät.</claim-text></claim></claims>
</ep-patent-document>
"""


def kipris_item(n: int) -> str:
    """One patent's details of KIPRIS Plus."""
    return f"""<item>
<biblioSummaryInfoArray><biblioSummaryInfo><applicationDate>2003.03.28</applicationDate>
<applicationNumber>10-2004-70{15000 + n}</applicationNumber><inventionTitle>시험 장치 {n}</inventionTitle>
<inventionTitleEng>Test device {n}</inventionTitleEng><openDate>2005.01.31</openDate>
<openNumber>10-2005-00{12000 + n}</openNumber><publicationDate>2008.10.30</publicationDate><publicationNumber/>
<registerDate>2008.10.24</registerDate><registerNumber>10-08{66000 + n}-0000</registerNumber></biblioSummaryInfo>
</biblioSummaryInfoArray>
<ipcInfoArray><ipcInfo><ipcDate>(2006.01.01)</ipcDate><ipcNumber>C12N 5/00</ipcNumber></ipcInfo>
<ipcInfo><ipcDate>(2010.01.01)</ipcDate><ipcNumber>C12N 5/071</ipcNumber></ipcInfo></ipcInfoArray>
<applicantInfoArray><applicantInfo><code>1</code><name>델타 주식회사</name></applicantInfo></applicantInfoArray>
<claimInfoArray><claimInfo><claim>하우징을 포함하는 장치.</claim></claimInfo>
<claimInfo><claim>제1항에 있어서, 모터를 포함하는 장치.</claim></claimInfo></claimInfoArray>
<priorArtDocumentsInfoArray><priorArtDocumentsInfo><documentsNumber>KR1020030011111 A</documentsNumber>
</priorArtDocumentsInfo></priorArtDocumentsInfoArray>
<abstractInfoArray><abstractInfo>
<astrtCont>시험 장치 {n}에 관한 것으로, 하우징과 축을 포함한다.</astrtCont></abstractInfo>
</abstractInfoArray>
</item>"""


def kipris_file(*items: str) -> str:
    """An answer of KIPRIS Plus."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><response><header><successYN>Y</successYN></header><body>'
        + "".join(items)
        + "</body></response>"
    )
